from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numcodecs.jenkins import jenkins_lookup3

from streamh5.format.checksum import append_checksum, lookup3, lookup3_in_python, lookup3_rows

# Bob Jenkins, lookup3.c, driver5(): the values that his self-test prints.
_PUBLISHED = [
    (b"", 0xDEADBEEF),
    (b"Four score and seven years ago", 0x17770551),
]


@pytest.mark.parametrize(("data", "expected"), _PUBLISHED)
def test_lookup3_published_strings_published_values(data: bytes, expected: int) -> None:
    assert lookup3(data) == expected
    assert lookup3_in_python(data) == expected


@given(st.binary(max_size=100))
def test_lookup3_in_python_equals_that_of_numcodecs(data: bytes) -> None:
    assert lookup3_in_python(data) == jenkins_lookup3(data)


def test_lookup3_superblock_by_libhdf5_equals_stored_checksum(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver="latest"):
        pass
    superblock = (tmp_path / "a.h5").read_bytes()[:48]
    assert append_checksum(superblock[:44]) == superblock
    assert lookup3(bytearray(superblock[:44])) == lookup3(memoryview(superblock)[:44])


def test_lookup3_flipped_bit_differs() -> None:
    assert lookup3(bytes(100)) != lookup3(bytes(99) + b"\x01")


@given(st.integers(0, 20), st.integers(1, 40), st.integers(0, 5), st.randoms(use_true_random=False))
def test_lookup3_rows_of_strided_matrix_equal_single_hashes(n: int, m: int, gap: int, random: object) -> None:
    matrix = np.random.default_rng(n * 50 + m).integers(0, 256, (n, m + gap), np.uint8)
    rows = matrix[:, :m]
    hashes = lookup3_rows(rows)
    assert hashes.dtype == np.uint32
    assert hashes.tolist() == [lookup3(row.tobytes()) for row in rows]
