"""Messages have a length, however long the values are that they are about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

import streamh5
from streamh5.errors import StreamH5Error, listed, shown

MANY = 20_000
NAME = "n" * 5000
LONG = tuple(range(1, MANY))
MASK = np.arange(MANY) % 2 == 0


def unknown_chunks() -> da.Array:
    x = da.ones(MANY, chunks=10)
    return x[x > 0]


def mixed() -> dict[str, Any]:
    return {f"/{i}": da.ones(3, chunks=3) for i in range(MANY // 100)}


def to_h5(**keywords: Any) -> Callable[[], object]:
    return lambda: streamh5.to_fixed_h5("o.h5", "/x", da.ones((6, 6), chunks=3), **keywords)


def in_file(call: Callable[[streamh5.File, streamh5.Dataset], object]) -> Callable[[], None]:
    def run() -> None:
        with streamh5.File("o.h5") as file:
            call(file, file.create_dataset("x", (MANY, 4), "f4", chunks=(10, 4)))

    return run


CASES: dict[str, tuple[Callable[[], object], str]] = {
    "chunks of unknown size": (
        lambda: streamh5.to_fixed_h5("o.h5", "/x", unknown_chunks()),
        "compute_chunk_sizes",
    ),
    "a mask as index": (in_file(lambda f, x: x.__setitem__(MASK, 1)), "/x: index .* of dimension 0"),
    "a list as index": (in_file(lambda f, x: x.__setitem__(list(LONG), 1)), "/x: index"),
    "too many indices": (in_file(lambda f, x: x.__setitem__(LONG, 1)), "too many indices"),
    "a block that does not fit": (
        in_file(lambda f, x: x.__setitem__(slice(0, 10), np.ones((2,) + (1,) * 29))),
        "/x",
    ),
    "chunks of a dataset": (
        in_file(lambda f, x: f.create_dataset("y", (6, 6), "f4", chunks=LONG)),
        "/y: chunks",
    ),
    "chunks that are text": (
        in_file(lambda f, x: f.create_dataset("y", (6,), "f4", chunks=NAME)),
        "/y: chunks",
    ),
    "a shape": (in_file(lambda f, x: f.create_dataset("y", NAME, "f4")), "/y"),
    "a shape of many dimensions": (in_file(lambda f, x: f.create_dataset("y", LONG, "f4")), "/y"),
    "a maxshape": (in_file(lambda f, x: f.create_dataset("y", (6,), "f4", maxshape=LONG)), "/y: maxshape"),
    "a dtype": (in_file(lambda f, x: f.create_dataset("y", (6,), NAME)), "/y"),
    "a fill value": (
        in_file(lambda f, x: f.create_dataset("y", (6,), "f4", fillvalue=list(LONG))),
        "fill value",
    ),
    "a compression": (
        in_file(lambda f, x: f.create_dataset("y", (6,), "f4", compression=NAME)),
        "y|compression",
    ),
    "options": (to_h5(compression="gzip", compression_opts=LONG), "gzip|compression_opts"),
    "a path": (in_file(lambda f, x: f.create_group(f"/{NAME}/../x")), "path"),
    "a path with a NUL": (in_file(lambda f, x: f.create_group(f"{NAME}\0")), "NUL"),
    "a name that is no str": (in_file(lambda f, x: f.create_group(LONG)), "path must be a str"),  # type: ignore[arg-type]
    "the name of an attribute": (in_file(lambda f, x: x.attrs.__setitem__(f"{NAME}\0", 1)), "attribute name"),
    "the value of an attribute": (
        in_file(lambda f, x: x.attrs.__setitem__("a", [{1: NAME}, LONG])),
        "attribute 'a'",
    ),
    "attributes of others": (
        lambda: streamh5.to_fixed_h5("o.h5", mixed(), attrs={f"/n{i}": {} for i in range(MANY)}),
        "which is not an array of this call",
    ),
    "keywords": (to_h5(**{f"k{i}": 1 for i in range(MANY // 10)}), "has no keyword"),
    "chunks of to_fixed_h5": (to_h5(chunks=LONG), "/x: chunks"),
    "a mode": (to_h5(mode=NAME), "mode"),
    "a sync": (to_h5(sync=NAME), "sync"),
    "a libver": (to_h5(libver=NAME), "libver"),
    "a scheduler": (to_h5(scheduler=NAME), "scheduler"),
    "an array of no kind": (lambda: streamh5.to_fixed_h5("o.h5", "/x", {NAME: LONG}), "/x"),
}


@pytest.mark.parametrize("case", CASES)
def test_message_of_a_bad_input_has_300_characters_at_most(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, expected = CASES[case]
    with pytest.raises(StreamH5Error, match=expected) as caught:
        call()
    assert len(str(caught.value)) <= 300
    for note in getattr(caught.value, "__notes__", ()):
        assert len(note) <= 300


def test_warning_of_costly_blocks_has_300_characters_at_most(tmp_path: Path) -> None:
    x = da.ones((2000, 2), chunks=(1, 1))
    with pytest.warns(streamh5.RealignWarning) as caught:
        x.to_fixed_h5(tmp_path / "o.h5", "/x", chunks=(1000, 2))
    assert all(len(str(one.message)) <= 300 for one in caught)


@pytest.mark.parametrize("kind", ["encoding", "unlimited_dims", "keyword"])
def test_message_about_a_dataset_of_many_variables_has_300_characters_at_most(
    kind: str, tmp_path: Path
) -> None:
    xr = pytest.importorskip("xarray")
    dataset = xr.Dataset({f"variable{i}": (f"dim{i}", [1]) for i in range(500)})
    unknown: dict[str, Any] = {f"other{i}": {} for i in range(500)}
    by_kind: dict[str, dict[str, Any]] = {
        "encoding": {"encoding": unknown},
        "unlimited_dims": {"unlimited_dims": list(unknown)},
        "keyword": unknown,
    }
    keywords = by_kind[kind]
    with pytest.raises(StreamH5Error, match="other0") as caught:
        dataset.streamh5.to_netcdf(tmp_path / "o.nc", **keywords)
    assert len(str(caught.value)) <= 300


def test_message_that_is_too_long_keeps_its_object_and_its_advice() -> None:
    error = StreamH5Error(f"/x: the value {'v' * 1000} cannot be stored; give another one", n=3)
    assert len(str(error)) <= 300
    assert str(error).startswith("/x: the value vvv")
    assert str(error).endswith("vvv cannot be stored; give another one")
    assert error.facts == {"n": 3}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, 2, 3), "(1, 2, 3)"),
        ("name", "'name'"),
        (LONG, "(1, 2, 3, 4, 5, ...)"),
        ((((1,) * MANY),) * 2, "((1, 1, 1, 1, 1, ...), (1, 1, 1, 1, 1, ...))"),
        (slice(3, 5), "slice(3, 5, None)"),
        (None, "None"),
    ],
)
def test_shown_value_is_short(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_listed_names_say_how_many_more() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(f"name{i}" for i in range(100)).endswith(" and 90 more")
    assert listed([NAME, NAME]).endswith(" and 1 more")
    assert len(listed([NAME] * 3)) < 150


def test_words_of_the_library_are_bounded_and_on_one_line(tmp_path: Path) -> None:
    from streamh5.check.h5py_view import MAX_WORDS, H5pyView

    path = tmp_path.joinpath(*["d" * 200] * 10)
    with pytest.raises(StreamH5Error, match=r"^h5py .* cannot open the file: ") as caught:
        H5pyView(str(path))
    message = str(caught.value)
    head, words = message.split("cannot open the file: ")
    assert len(words) <= MAX_WORDS < len(str(caught.value.__cause__))
    assert words.endswith(str(caught.value.__cause__)[-40:])
    assert len(message) <= 300
    assert "\n" not in head + words
