"""The setting of ISA-L that the bytes of a chunk choose: sizes beside those of every fixed setting."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from isal import igzip_lib

from streamh5.filters.deflate import deflate_encoder as encoder

ISAL_SETTINGS = [
    (level, memory)
    for level in (1, 2)
    for memory in (igzip_lib.MEM_LEVEL_SMALL, igzip_lib.MEM_LEVEL_MEDIUM, igzip_lib.MEM_LEVEL_LARGE)
]


def fields() -> dict[str, np.ndarray[Any, Any]]:
    """4 MiB each of data for which different settings of ISA-L are best."""
    rng = np.random.default_rng(3)
    t = np.linspace(0, 60, 1 << 20)
    smooth = 280 + 10 * np.sin(3 * t)
    return {
        "near matches only": np.round(rng.random(t.size), 2).astype("f4"),
        "far matches": (smooth + rng.normal(0, 0.01, t.size)).astype("f4"),
        "drift": rng.poisson(np.exp(2 + 2 * np.sin(np.linspace(0, 60, 1 << 21)))).astype("u2"),
        "times": np.cumsum(rng.integers(900_000, 1_100_000, 1 << 19)),
        "one row": np.tile(rng.normal(size=1024), 512),
        "labels in runs": np.repeat(rng.integers(0, 5000, 1 << 14), 64).astype("i4"),
        "constant": np.zeros(1 << 20, "f4"),
    }


def planes_of(values: np.ndarray[Any, Any]) -> bytes:
    """Return what shuffle makes of one chunk."""
    return np.ascontiguousarray(values.view(np.uint8).reshape(-1, values.itemsize).T).tobytes()


@pytest.mark.parametrize(
    "name", [name for name in fields() if name != "one row"]
)  # 34 times smaller in any case
def test_chosen_setting_is_within_a_percent_of_the_smallest_of_isal(name: str) -> None:
    values = fields()[name]
    planes = planes_of(values)
    sizes = [
        len(igzip_lib.compress(planes, level, igzip_lib.COMP_ZLIB, memory)) for level, memory in ISAL_SETTINGS
    ]
    stream = encoder(4)(planes)
    assert zlib.decompress(bytes(stream)) == planes
    assert len(stream) <= 1.01 * min(sizes)


@pytest.mark.parametrize(
    ("name", "level", "memory"),
    [
        ("near matches only", 1, igzip_lib.MEM_LEVEL_MEDIUM),
        ("drift", 1, igzip_lib.MEM_LEVEL_SMALL),
        ("one row", 2, igzip_lib.MEM_LEVEL_SMALL),
        ("constant", 2, igzip_lib.MEM_LEVEL_SMALL),
    ],
)
def test_bytes_of_a_large_chunk_choose_the_setting(name: str, level: int, memory: int) -> None:
    values = fields()[name]
    planes = planes_of(values)
    assert bytes(encoder(4)(planes)) == igzip_lib.compress(planes, level, igzip_lib.COMP_ZLIB, memory)


def test_far_matches_take_level_2_and_lower_levels_of_gzip_never_do() -> None:
    values = fields()["far matches"]
    planes = planes_of(values)
    nbytes = [len(encoder(level)(planes)) for level in (1, 2, 3, 4)]
    assert nbytes[0] == nbytes[1] > 1.02 * nbytes[2]
    assert nbytes[2] == nbytes[3]
