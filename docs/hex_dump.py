"""Annotated hex dump of a small file, for docs/file-layout.md.

    python docs/hex_dump.py            print it
    python docs/hex_dump.py --write    put it in the page

`FIELDS` names every byte in the order of the file. The dump fails if a named value is not the one
in the file, if an address does not lead to the block that it should, or if a byte has no name, so
it cannot drift from what streamh5 writes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TypeAlias

import dask.array as da
import numpy as np

import streamh5

PAGE = Path(__file__).with_name("file-layout.md")
BEGIN, END = "<!-- hex dump: begin -->\n", "<!-- hex dump: end -->\n"

SUPERBLOCK, ROOT, HEADER = "superblock", "root group's object header", "dataset's object header"
FAHD, FADB = "Fixed Array header", "Fixed Array data block"

Field: TypeAlias = tuple[int, int | bytes | str | None, str]
"""Size, value and meaning. The value is an int, bytes, the name of the block whose address it is, or
None for a checksum, which the dump only shows."""


def element(coords: str) -> list[Field]:
    """Return the fields of one element of the Fixed Array."""
    return [
        (8, f"chunk {coords}", f"chunk {coords}: address"),
        (2, 16, "stored size"),
        (4, 0, "filter mask: every filter was applied"),
    ]


def chunk(row: int, column: int) -> list[Field]:
    """Return the fields of one chunk, whose first element is at row, column."""
    rows = [[6 * r + column + c for c in range(3)] for r in (row, row + 1)]
    return [
        *((6, np.array(values, "<i2").tobytes(), ", ".join(map(str, values))) for values in rows),
        (4, None, "fletcher32 of the 12 bytes before"),
    ]


FIELDS: list[tuple[str, list[Field]]] = [
    (
        SUPERBLOCK,
        [
            (8, b"\x89HDF\r\n\x1a\n", "signature"),
            (1, 3, "version 3: readers from HDF5 1.10 on"),
            (1, 8, "size of addresses"),
            (1, 8, "size of lengths"),
            (1, 0, "not open for writing"),
            (8, 0, "base address"),
            (8, b"\xff" * 8, "no superblock extension"),
            (8, "end", "end of file"),
            (8, ROOT, "address of the root group"),
            (4, None, "checksum (lookup3) of the 44 bytes before"),
        ],
    ),
    (
        ROOT,
        [
            (4, b"OHDR", "signature"),
            (1, 2, "version 2"),
            (1, 0, "flags: no times, no attribute order, 1-byte size"),
            (1, 44, "bytes of messages"),
            (4, b"\x02\x12\0\0", "message: link info, 18 bytes"),
            (2, 0, "version 0; creation order not tracked"),
            (8, b"\xff" * 8, "no fractal heap: the links are in this header"),
            (8, b"\xff" * 8, "no name index"),
            (4, b"\x0a\x02\0\x01", "message: group info, 2 bytes, constant"),
            (2, 0, "version 0; the library's limits"),
            (4, b"\x06\x0c\0\0", "message: link, 12 bytes"),
            (2, 1, "version 1; a hard link, 1-byte length of the name"),
            (2, b"\x01x", 'name: "x"'),
            (8, HEADER, "address of the dataset"),
            (4, None, "checksum of this header"),
        ],
    ),
    (
        HEADER,
        [
            (4, b"OHDR", "signature"),
            (1, 2, "version 2"),
            (1, 0, "flags"),
            (1, 169, "bytes of messages"),
            (4, b"\x01\x24\0\0", "message: dataspace, 36 bytes"),
            (4, b"\x02\x02\x01\x01", "version 2; rank 2; a maximum shape; simple"),
            (8, 4, "extent 0"),
            (8, 6, "extent 1"),
            (8, 4, "maximum of extent 0: chunks are numbered over it"),
            (8, 6, "maximum of extent 1"),
            (4, b"\x03\x0c\0\x01", "message: datatype, 12 bytes, constant"),
            (4, b"\x10\x08\0\0", "version 1, fixed point; little-endian, signed"),
            (4, 2, "size"),
            (4, b"\0\0\x10\0", "bit offset 0, precision 16"),
            (4, b"\x05\x02\0\x01", "message: fill value, 2 bytes, constant"),
            (2, b"\x03\x0b", "version 3; incremental allocation, written if set"),
            (4, b"\x0b\x08\0\x01", "message: filter pipeline, 8 bytes, constant"),
            (2, b"\x02\x01", "version 2; 1 filter"),
            (2, 3, "filter 3: fletcher32"),
            (4, 0, "mandatory; no options"),
            (4, b"\x08\x12\0\0", "message: data layout, 18 bytes"),
            (5, b"\x04\x02\0\x03\x01", "version 4; chunked; 3 dimensions of 1 byte"),
            (3, b"\x02\x03\x02", "chunk: 2 x 3 elements of 2 bytes"),
            (2, b"\x03\x0a", "index: Fixed Array, pages of 2^10 elements"),
            (8, FAHD, "address of the index"),
            (4, b"\x15\x12\0\x04", "message: attribute info, 18 bytes"),
            (2, 0, "version 0; creation order not tracked"),
            (16, b"\xff" * 16, "no fractal heap, no name index"),
            (4, b"\x0c\x2f\0\0", "message: attribute, 47 bytes"),
            (2, 3, "version 3"),
            (6, b"\x06\0\x14\0\x04\0", "sizes: name 6, datatype 20, dataspace 4"),
            (1, 0, "name in ASCII"),
            (6, b"scale\0", 'name: "scale"'),
            (4, b"\x11\x20\x3f\0", "datatype version 1, floating point; sign at bit 63"),
            (4, 8, "size"),
            (4, b"\0\0\x40\0", "bit offset 0, precision 64"),
            (4, b"\x34\x0b\0\x34", "exponent at 52 (11 bits), mantissa at 0 (52 bits)"),
            (4, 1023, "exponent bias"),
            (4, b"\x02\0\0\0", "dataspace version 2, scalar"),
            (8, b"\0\0\0\0\0\0\xe0\x3f", "0.5"),
            (4, None, "checksum of this header"),
        ],
    ),
    (
        FAHD,
        [
            (4, b"FAHD", "signature"),
            (1, 0, "version 0"),
            (1, 1, "of chunks that have passed filters"),
            (1, 14, "bytes of an element: address 8, size 2, mask 4"),
            (1, 10, "pages of 2^10 elements"),
            (8, 4, "elements"),
            (8, FADB, "address of the data block"),
            (4, None, "checksum"),
        ],
    ),
    (
        FADB,
        [
            (4, b"FADB", "signature"),
            (1, 0, "version 0"),
            (1, 1, "of chunks that have passed filters"),
            (8, FAHD, "address of the header"),
            *element("(0, 0)"),
            *element("(0, 1)"),
            *element("(1, 0)"),
            *element("(1, 1)"),
            (4, None, "checksum"),
        ],
    ),
    ("chunk (0, 0)", chunk(0, 0)),
    ("chunk (0, 1)", chunk(0, 3)),
    ("chunk (1, 0)", chunk(2, 0)),
    ("chunk (1, 1)", chunk(2, 3)),
]


def write_example(path: Path) -> None:
    """Write the file of the dump."""
    x = da.from_array(np.arange(24, dtype="<i2").reshape(4, 6), chunks=(4, 6))  # type: ignore[no-untyped-call]
    streamh5.to_fixed_h5(
        path, "/x", x, chunks=(2, 3), compression=None, fletcher32=True, attrs={"scale": 0.5}
    )


def hex_dump(data: bytes) -> str:
    """Annotate the file of `write_example`.

    Raises
    ------
    ValueError
        The file is not what `FIELDS` says.
    """
    addresses, address = {}, 0
    for name, fields in FIELDS:
        addresses[name] = address
        address += sum(size for size, _, _ in fields)
    if address != len(data):
        raise ValueError(f"the fields name {address} bytes, the file has {len(data)}")
    lines: list[str] = []
    address = 0
    for name, fields in FIELDS:
        lines += ["", f"--- {name} ---"] if lines else [f"--- {name} ---"]
        for size, value, meaning in fields:
            piece = data[address : address + size]
            if value is not None and piece != _expected(value, size, {**addresses, "end": len(data)}):
                raise ValueError(f"{name}, {meaning}: {piece.hex(' ')} at {address:#x} is not {value!r}")
            for start in range(0, size, 8):
                shown = piece[start : start + 8].hex(" ")
                lines.append(f"{address + start:03x}  {shown:<23}  {'' if start else meaning}".rstrip())
            address += size
    return "\n".join(lines) + "\n"


def _expected(value: int | bytes | str, size: int, addresses: dict[str, int]) -> bytes:
    if isinstance(value, bytes):
        return value
    return (addresses[value] if isinstance(value, str) else value).to_bytes(size, "little")


def page_with_dump(page: str) -> str:
    """Return the page with the dump of a file that is written now."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.h5")
        write_example(path)
        dump = hex_dump(path.read_bytes())
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}```text\n{dump}```\n{END}{tail}"


if __name__ == "__main__":
    text = page_with_dump(PAGE.read_text() if PAGE.exists() else BEGIN + END)
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(text)
    else:
        print(text.split(BEGIN)[1].split(END)[0])
