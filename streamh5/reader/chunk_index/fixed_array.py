"""Fixed Array, of which pages that were never written are not read (specification VII.C)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.format.checksum import SIZEOF_CHECKSUM
from streamh5.format.chunk_index.element import ChunkColumns, concatenate, decode_pages, no_chunks
from streamh5.format.chunk_index.fixed_array import (
    DATA_BLOCK,
    SIZEOF_FIXED_ARRAY_HEADER,
    FixedArray,
    FixedArrayHeader,
    decode_fixed_array_data_block,
    decode_fixed_array_header,
)
from streamh5.format.primitives import UNDEFINED_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from streamh5.format import data_layout
    from streamh5.reader.chunk_index.chunk_frame import ChunkFrame
    from streamh5.reader.structure_reader import StructureReader

__all__ = ["read_fixed_array"]


def read_fixed_array(
    reader: StructureReader, frame: ChunkFrame, index: data_layout.FixedArrayIndex
) -> tuple[NDArray[np.int64] | None, ChunkColumns]:
    """Read the chunks of a Fixed Array: element i is chunk i of `frame.grid`.

    Returns
    -------
    Numbers of the elements, None for ``0 .. n - 1``, and the elements

    Raises
    ------
    FormatError
        A field or checksum is wrong, or the array does not fit its dataset or the file.
    """
    array = FixedArray(
        frame.n_max_chunks,
        frame.chunk_nbytes,
        filtered=frame.n_filters > 0,
        page_bits=index.page_bits,
        layout_version=frame.layout_version,
    )
    header = reader.read(index.address, SIZEOF_FIXED_ARRAY_HEADER, FixedArrayHeader.structure)
    address = decode_fixed_array_header(array, header)
    if address == UNDEFINED_ADDRESS:
        return None, no_chunks(filtered=array.filtered)
    sizeof_start = array.sizeof_prefix + SIZEOF_CHECKSUM if array.is_paged else array.sizeof_data_block
    start = reader.read(address, array.sizeof_data_block, DATA_BLOCK, n_read=sizeof_start)
    found = decode_fixed_array_data_block(array, index.address, start)
    if isinstance(found, ChunkColumns):
        return None, found
    return _read_pages(reader, array, address + sizeof_start, address + array.sizeof_data_block, found)


def _read_pages(
    reader: StructureReader, array: FixedArray, address: int, end: int, written: NDArray[np.bool_]
) -> tuple[NDArray[np.int64] | None, ChunkColumns]:
    """Read the pages that were written: time and memory go by what is stored."""
    page_nbytes = (array.element.itemsize << array.page_bits) + SIZEOF_CHECKSUM
    numbers, parts = [], []
    for first, last in _runs(written, array.n_elements >> array.page_bits):
        at = address + first * page_nbytes
        raw = reader.file.read(at, min(end, at + (last - first) * page_nbytes) - at, "Fixed Array pages")
        pages = np.ones(last - first, np.bool_)
        parts.append(decode_pages(raw, pages, array.element, structure=DATA_BLOCK, first_page=first))
        start_number = first << array.page_bits
        numbers.append(np.arange(start_number, start_number + len(parts[-1].addresses), dtype=np.int64))
    if not parts:
        return None, no_chunks(filtered=array.filtered)
    return np.concatenate(numbers), concatenate(parts)


def _runs(written: NDArray[np.bool_], n_full: int) -> Iterator[tuple[int, int]]:
    """Yield runs of written pages, first and last + 1; the last page may be shorter, and is alone."""
    steps = np.diff(written[:n_full].view(np.int8), prepend=0, append=0)
    yield from zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True)
    if written[n_full:].any():
        yield n_full, n_full + 1
