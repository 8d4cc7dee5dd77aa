"""The header of a netCDF classic file: dimensions, attributes, variables, and the location of the data.

Source: "File Format Specifications" of the netCDF User's Guide: CDF-1 (classic), CDF-2 (64-bit offset) and
CDF-5 (64-bit data). Everything is big-endian and padded to four bytes.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

NC_CHAR = 2
NC_DIMENSION, NC_VARIABLE, NC_ATTRIBUTE = 10, 11, 12

DTYPES = {
    1: np.dtype("i1"),
    NC_CHAR: np.dtype("S1"),
    3: np.dtype(">i2"),
    4: np.dtype(">i4"),
    5: np.dtype(">f4"),
    6: np.dtype(">f8"),
    7: np.dtype("u1"),
    8: np.dtype(">u2"),
    9: np.dtype(">u4"),
    10: np.dtype(">i8"),
    11: np.dtype(">u8"),
}
"""Element types by ``nc_type``; those from 7 on belong to CDF-5."""

CDF5 = 5
VERSIONS = (1, 2, CDF5)


@dataclass(frozen=True, slots=True)
class ClassicDimension:
    """A dimension; the length of the record dimension is the number of records."""

    name: str
    length: int
    is_record: bool


@dataclass(frozen=True, slots=True)
class ClassicVariable:
    """A variable.

    Parameters
    ----------
    name, dtype
        As in the file.
    dimensions
        Its dimensions; the record dimension can only be the first.
    attributes
        By name: bytes for text, else a vector of numbers.
    begin
        Address of the first element.
    stride
        Bytes from one record to the next; None without records.
    """

    name: str
    dtype: np.dtype[Any]
    dimensions: tuple[ClassicDimension, ...]
    attributes: dict[str, bytes | np.ndarray[Any, Any]]
    begin: int
    stride: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of its dimensions."""
        return tuple(one.length for one in self.dimensions)

    def map(self, source: str | os.PathLike[str]) -> np.ndarray[Any, Any]:
        """Map its data into memory; nothing is read.

        Raises
        ------
        SourceError
            The file ends before the data do.
        """
        shape = self.shape
        if 0 in shape:
            return np.broadcast_to(np.zeros((), self.dtype), shape)
        record = self.dtype.itemsize * math.prod(shape if self.stride is None else shape[1:])
        extent = record if self.stride is None else (shape[0] - 1) * self.stride + record
        file_nbytes = os.stat(source).st_size
        if self.begin + extent > file_nbytes:
            raise SourceError(
                f"{source}: the data of variable {self.name!r} end at byte {self.begin + extent:,}, the file at "
                f"{file_nbytes:,}: it is cut off; restore it",
                name=self.name,
            )
        data = np.memmap(source, np.uint8, "r", self.begin, (extent,))
        strides = [self.dtype.itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        if self.stride is not None:
            strides[0] = self.stride
        return np.ndarray(shape, self.dtype, data, 0, strides)


@dataclass(frozen=True, slots=True)
class ClassicHeader:
    """Dimensions, attributes and variables, in the order of the file."""

    dimensions: tuple[ClassicDimension, ...]
    attributes: dict[str, bytes | np.ndarray[Any, Any]]
    variables: tuple[ClassicVariable, ...]


def read_header(source: str | os.PathLike[str]) -> ClassicHeader:
    """Read the header of a netCDF classic file.

    Raises
    ------
    SourceError
        The file cannot be read, or its header is damaged.
    """
    try:
        if not os.path.getsize(source):
            raise SourceError(f"{source} is empty", source=str(source))
        data = np.memmap(source, np.uint8, "r")
    except OSError as error:
        raise SourceError(f"{source} cannot be read: {error}", source=str(source)) from error
    return _Parser(str(source), data.data).header()


class _Parser:
    """Parses the header from start to end."""

    def __init__(self, source: str, data: memoryview) -> None:
        self._source = source
        self._data = data
        self._address = 4
        version = data[3] if len(data) > 3 else 0
        if bytes(data[:3]) != b"CDF" or version not in VERSIONS:
            self._fail(f"it begins with {bytes(data[:4])!r}")
        self._is_cdf5 = version == CDF5
        self._sizeof_count = 8 if version == CDF5 else 4
        self._sizeof_offset = 4 if version == 1 else 8

    def header(self) -> ClassicHeader:
        n_records: int | None = self._integer(self._sizeof_count)
        if n_records == (1 << 8 * self._sizeof_count) - 1:
            n_records = None  # "streaming": as many as there are
        lengths = self._list(NC_DIMENSION, lambda: self._integer(self._sizeof_count))
        if sum(length == 0 for length in lengths.values()) > 1:
            self._fail("it has more than one record dimension")
        attributes = self._attributes()
        names = list(lengths)
        entries = self._list(NC_VARIABLE, lambda: self._variable(names))
        is_record = {
            name: bool(dims) and lengths[names[dims[0]]] == 0 for name, (dims, *_) in entries.items()
        }
        sizes = {
            name: dtype.itemsize * math.prod(lengths[names[i]] for i in dims[is_record[name] :])
            for name, (dims, _, dtype, _) in entries.items()
        }
        records = [name for name in entries if is_record[name]]
        # the records of a single variable are not padded
        stride = sizes[records[0]] if len(records) == 1 else sum(-(-sizes[name] // 4) * 4 for name in records)
        if n_records is None:
            first = min((entries[name][3] for name in records), default=len(self._data))
            n_records = max(0, len(self._data) - first) // stride if stride else 0
        dimensions = [ClassicDimension(name, n or n_records, n == 0) for name, n in lengths.items()]
        variables = []
        for name, (dims, own, dtype, begin) in entries.items():
            if any(lengths[names[i]] == 0 for i in dims[1:]):
                self._fail(f"variable {name!r} has the record dimension after another one")
            own_dimensions = tuple(dimensions[i] for i in dims)
            variables.append(
                ClassicVariable(name, dtype, own_dimensions, own, begin, stride if is_record[name] else None)
            )
        return ClassicHeader(tuple(dimensions), attributes, tuple(variables))

    def _attributes(self) -> dict[str, bytes | np.ndarray[Any, Any]]:
        return self._list(NC_ATTRIBUTE, self._attribute_value)

    def _attribute_value(self) -> bytes | np.ndarray[Any, Any]:
        number, dtype = self._type()
        n = self._integer(self._sizeof_count)
        data = self._bytes(n * dtype.itemsize)
        return data if number == NC_CHAR else np.frombuffer(data, dtype)

    def _variable(
        self, names: list[str]
    ) -> tuple[list[int], dict[str, bytes | np.ndarray[Any, Any]], np.dtype[Any], int]:
        n_dimensions = self._count(self._sizeof_count)
        dims = [self._integer(self._sizeof_count) for _ in range(n_dimensions)]
        if any(i >= len(names) for i in dims):
            self._fail(f"a variable has the dimensions {dims[:10]}, and there are {len(names)}")
        attributes = self._attributes()
        _, dtype = self._type()
        self._integer(self._sizeof_count)  # vsize: redundant, and too small for large variables
        return dims, attributes, dtype, self._integer(self._sizeof_offset)

    def _list(self, tag: int, read: Callable[[], Any]) -> dict[str, Any]:
        found, n = self._integer(4), self._count(4)
        if found != tag and (found or n):
            self._fail(f"a list has the tag {found} instead of {tag}")
        items: dict[str, Any] = {}
        for _ in range(n):
            name = self._name()
            if name in items:
                self._fail(f"the name {name[:80]!r} occurs twice")
            items[name] = read()
        return items

    def _name(self) -> str:
        data = self._bytes(self._integer(self._sizeof_count))
        data = data.partition(b"\0")[0]  # netCDF-C treats names as C strings
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{self._source}: the name {data[:80]!r} is not UTF-8: {error.reason}", source=self._source
            ) from error

    def _type(self) -> tuple[int, np.dtype[Any]]:
        number = self._integer(4)
        if number not in DTYPES or (number > 6 and not self._is_cdf5):
            self._fail(f"there is no type of number {number}")
        return number, DTYPES[number]

    def _count(self, least_nbytes: int) -> int:
        """Read how many items follow, of at least `least_nbytes` bytes each."""
        n = self._integer(self._sizeof_count)
        if n * least_nbytes > len(self._data) - self._address:
            self._fail(f"{n:,} items at byte {self._address:,} do not fit in {len(self._data):,} bytes")
        return n

    def _integer(self, nbytes: int) -> int:
        return int.from_bytes(self._take(nbytes), "big")

    def _bytes(self, nbytes: int) -> bytes:
        """Read bytes and their padding."""
        data = bytes(self._take(nbytes))
        self._address += -nbytes % 4
        return data

    def _take(self, nbytes: int) -> memoryview:
        end = self._address + nbytes
        if end > len(self._data):
            self._fail(f"{nbytes:,} bytes at byte {self._address:,} go past its end at {len(self._data):,}")
        data = self._data[self._address : end]
        self._address = end
        return data

    def _fail(self, what: str) -> None:
        raise SourceError(
            f"{self._source}: the header of the netCDF classic file is damaged: {what}", source=self._source
        )
