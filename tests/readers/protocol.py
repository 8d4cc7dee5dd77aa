"""What a reader is to the tests: another program's eyes on an HDF5 file.

A reader says what it sees, whatever the file's byte order, chunks and filters. Two conventions make
the answers comparable: an enumeration ``{FALSE: 0, TRUE: 1}`` is bool, a compound of two equal floats
``r`` and ``i`` is complex (both are h5py's way to write them).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tests.deadlock import DEADLOCK_SECONDS

TIMEOUT_SECONDS = float(DEADLOCK_SECONDS)
"""For every call of another program."""

BASE_FILTERS = frozenset({1, 2, 3, 5, 6})
"""deflate, shuffle, fletcher32, nbit, scaleoffset: part of every HDF5 library."""

Values = NDArray[Any]


class ReaderError(Exception):
    """The reader refuses the file, or what it says cannot be understood."""


class Reader(Protocol):
    """One program or library that reads datasets."""

    name: str

    def version(self) -> str:
        """Return the version of the reader and of its HDF5 library."""

    def missing(self) -> str | None:
        """Tell why the reader cannot be used here; None when it can."""

    def refuses(self, dtype: np.dtype[Any], filter_ids: frozenset[int] = frozenset()) -> str | None:
        """Tell why the reader cannot hold the dtype or undo a filter; None when it can."""

    def read(self, path: Path, dataset: str) -> Values:
        """Return all values of a dataset; a null dataspace gives shape ``(0,)``.

        Raises ReaderError when the reader finds the file wrong.
        """


@runtime_checkable
class AttributeReader(Reader, Protocol):
    """A reader that shows attributes as well."""

    def attributes(self, path: Path, object_path: str) -> dict[str, Any]:
        """Return attributes by name: numpy scalars and arrays, str, object arrays of str."""


def compound_dtype(names: list[str], fields: list[np.dtype[Any]], offsets: list[int], nbytes: int) -> Any:
    """Return the dtype of a compound: complex for h5py's ``r`` and ``i``, structured otherwise."""
    first = fields[0]
    is_pair = names == ["r", "i"] and offsets == [0, first.itemsize] and fields[1] == first
    if is_pair and first.kind == "f" and nbytes in (8, 16):
        return np.dtype(f"{first.str[0]}c{nbytes}")
    return np.dtype({"names": names, "formats": fields, "offsets": offsets, "itemsize": nbytes})


def is_boolean(members: dict[str, int]) -> bool:
    """Tell whether an enumeration is h5py's bool."""
    return members == {"FALSE": 0, "TRUE": 1}


def native(values: Values) -> Values:
    """Return the values in this machine's byte order."""
    return np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False)).reshape(
        values.shape
    )


def assert_same_values(found: Values, expected: Values, what: str = "values") -> None:
    """Compare shape, dtype up to byte order, and every bit (so -0.0 and NaN count too)."""
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, not {expected.shape}"
    found, expected = native(found), native(expected)
    assert found.dtype == expected.dtype, f"{what}: dtype {found.dtype}, not {expected.dtype}"
    if found.tobytes() != expected.tobytes():
        np.testing.assert_array_equal(found, expected, err_msg=what)
        raise AssertionError(f"{what}: equal as numbers, but not in every bit (NaN or -0.0)")


def assert_reads(reader: Reader, path: Path, dataset: str, expected: Values) -> None:
    """Assert that the reader sees these values.

    PyTables has no name for h5py's bool and shows its integers: they are compared as bool.
    """
    found = reader.read(path, dataset)
    if reader.name == "PyTables" and expected.dtype == np.bool_ and found.dtype == np.int8:
        found = found.view(np.bool_) if set(np.unique(found)) <= {0, 1} else found
    assert_same_values(found, expected, f"{dataset} read by {reader.name}")
