"""h5dump: the values as it writes them to a binary file, typed by what it says of the datatype."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.readers.plugins import plugin_folder
from tests.readers.programs import missing_program, program_version, run_program
from tests.readers.protocol import BASE_FILTERS, ReaderError, Values, compound_dtype, is_boolean

LZF, SZIP = 32000, 4
ORDERS = {"LE": "<", "BE": ">", "little": "<", "big": ">"}


class H5dumpReader:
    """h5dump 1.10 of Debian's hdf5-tools; the oldest HDF5 library that knows the Fixed Array."""

    name = "h5dump"

    def version(self) -> str:
        return program_version("h5dump")

    def missing(self) -> str | None:
        return missing_program("h5dump")

    def refuses(self, dtype: np.dtype[Any], filter_ids: frozenset[int] = frozenset()) -> str | None:
        if LZF in filter_ids:
            return "LZF is inside h5py and in no plugin"
        others = sorted(filter_ids - BASE_FILTERS - {SZIP})
        return (
            f"hdf5plugin is not installed: filters {others}" if others and plugin_folder() is None else None
        )

    def read(self, path: Path, dataset: str) -> Values:
        with tempfile.TemporaryDirectory() as folder:
            binary = Path(folder, "values.bin")
            said = run_program("h5dump", "-d", dataset, "-b", "FILE", "-o", binary, path).stdout
            dtype, shape = parse_datatype(said), parse_dataspace(said)
            content = binary.read_bytes() if binary.exists() else b""
        if shape is None:
            return np.empty(0, dtype)
        n_expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if len(content) != n_expected:
            raise ReaderError(f"h5dump wrote {len(content)} bytes of {dataset}, not {n_expected}")
        return np.frombuffer(content, dtype).reshape(shape)


def parse_dataspace(said: str) -> tuple[int, ...] | None:
    """Return the shape in h5dump's header; None for a null dataspace."""
    match = re.search(r"DATASPACE\s+(SCALAR|NULL|SIMPLE \{ \(([^)]*)\))", said)
    if match is None:
        raise ReaderError(f"h5dump said nothing of a dataspace: {said[:300]}")
    if match[2] is None:
        return () if match[1] == "SCALAR" else None
    return tuple(int(extent) for extent in match[2].split(","))


def parse_datatype(said: str) -> np.dtype[Any]:
    """Return the dtype in h5dump's header."""
    match = re.search(r"DATATYPE\s+(.*?)\s+DATASPACE", said, re.DOTALL)
    if match is None:
        raise ReaderError(f"h5dump said nothing of a datatype: {said[:300]}")
    text = match[1]
    if text.startswith("H5T_ENUM"):
        members = {name: int(value) for name, value in re.findall(r'"([^"]*)"\s+(-?\d+);', text)}
        return np.dtype(np.bool_) if is_boolean(members) else _atomic(text)
    if text.startswith("H5T_COMPOUND"):
        members_text = re.findall(r'(\S[^;{}]*?)\s+"([^"]*)";', text)
        fields = [_atomic(field) for field, _ in members_text]
        ends = np.cumsum([0, *(field.itemsize for field in fields)])
        names = [name for _, name in members_text]
        compound: np.dtype[Any] = compound_dtype(names, fields, [int(e) for e in ends[:-1]], int(ends[-1]))
        return compound
    return _atomic(text)


def _atomic(text: str) -> np.dtype[Any]:
    if match := re.search(r"H5T_STD_([IU])(\d+)(LE|BE)", text):
        return np.dtype(f"{ORDERS[match[3]]}{match[1].lower()}{int(match[2]) // 8}")
    if match := re.search(r"H5T_IEEE_F(\d+)(LE|BE)", text):
        return np.dtype(f"{ORDERS[match[2]]}f{int(match[1]) // 8}")
    if match := re.search(r"16-bit (little|big)-endian floating-point", text):
        return np.dtype(f"{ORDERS[match[1]]}f2")
    if match := re.search(r"STRSIZE (\d+);", text):
        return np.dtype(f"S{match[1]}")
    raise ReaderError(f"h5dump: no numpy dtype for {text[:200]!r}")
