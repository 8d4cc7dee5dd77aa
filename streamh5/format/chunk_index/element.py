"""The entry of a chunk in every chunk index: its address and, if there are filters, stored size and filter mask.

Fixed and Extensible Arrays keep elements in blocks and pages; their common parts are here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamh5.errors import FormatError, LimitError
from streamh5.format.checksum import SIZEOF_CHECKSUM, Buffer, lookup3_rows
from streamh5.format.fields import Fields
from streamh5.format.primitives import (
    SIZEOF_ADDRESS,
    UNDEFINED_ADDRESS,
    address,
    concat,
    encoded_length,
    uint,
)

SIZEOF_BLOCK_PREFIX = 4 + 1 + 1 + SIZEOF_ADDRESS
"""Signature, version, client ID and header address, with which every block of an array begins."""


class ClientId(IntEnum):
    """The kinds of element that Fixed and Extensible Arrays name in their blocks."""

    UNFILTERED_CHUNKS = 0
    FILTERED_CHUNKS = 1


def sizeof_stored_nbytes(chunk_nbytes: int, layout_version: int = 4) -> int:
    """Return the width of the "size of chunk" field of a filtered chunk.

    It has one byte more than the raw size needs, since filters may make a chunk larger (H5D__farray_crt_context);
    layout version 5 always uses 8 bytes.
    """
    return 8 if layout_version >= 5 else min(8, 1 + encoded_length(chunk_nbytes))


@dataclass(frozen=True, slots=True)
class ChunkColumns:
    """The chunks of an index as columns, in the index's order.

    Parameters
    ----------
    addresses
        ``(n,) uint64``; 0 marks a chunk that was never written.
    stored_nbytes
        ``(n,) uint32`` or ``uint64``; None without filters.
    filter_masks
        ``(n,) uint32``; None for all zero.
    """

    addresses: NDArray[np.uint64]
    stored_nbytes: NDArray[np.unsignedinteger] | None = None
    filter_masks: NDArray[np.uint32] | None = None

    def __getitem__(self, part: slice) -> ChunkColumns:
        """Return a view of consecutive chunks."""
        return self._each(lambda column: column[part])

    def take(self, positions: NDArray[np.intp] | NDArray[np.bool_]) -> ChunkColumns:
        """Return copies of the chunks at `positions`, or where a mask is true."""
        return self._each(lambda column: column[positions])

    def padded(self, n_elements: int) -> ChunkColumns:
        """Return the same chunks followed by chunks that were never written, `n_elements` in total."""
        n_more = n_elements - len(self.addresses)
        return self._each(lambda column: np.pad(column, (0, n_more))) if n_more else self

    def _each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> ChunkColumns:
        stored, masks = self.stored_nbytes, self.filter_masks
        return ChunkColumns(
            change(self.addresses),
            None if stored is None else change(stored),
            None if masks is None else change(masks),
        )


def chunk_element(chunk_nbytes: int, *, filtered: bool, layout_version: int = 4) -> np.dtype[np.void]:
    """Return the packed numpy dtype of an element."""
    return element_dtype(sizeof_stored_nbytes(chunk_nbytes, layout_version) if filtered else 0)


def element_dtype(stored_nbytes_width: int, extra: tuple[tuple[str, str], ...] = ()) -> np.dtype[np.void]:
    """Return the packed numpy dtype of an element, followed by the fields `extra`; width 0 means no filters.

    numpy has no integers of 3 or 5 to 7 bytes, so the stored size is a field of 4 or 8 bytes, which overlaps the filter
    mask: writers assign the mask after it, readers clear the excess bytes.
    """
    fields: list[tuple[str, str, int]] = [("address", "<u8", 0)]
    end = SIZEOF_ADDRESS
    if stored_nbytes_width:
        fields.append(("stored_nbytes", "<u4" if stored_nbytes_width <= 4 else "<u8", end))
        fields.append(("filter_mask", "<u4", end + stored_nbytes_width))
        end += stored_nbytes_width + 4
    for name, form in extra:
        fields.append((name, form, end))
        end += np.dtype(form).itemsize
    names, formats, offsets = zip(*fields, strict=True)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": end})


def client_id(element: np.dtype[np.void]) -> ClientId:
    """Return the client ID of an element."""
    return ClientId.FILTERED_CHUNKS if stored_nbytes_width(element) else ClientId.UNFILTERED_CHUNKS


def stored_nbytes_width(element: np.dtype[np.void]) -> int:
    """Return the width of the stored size, which ends where the filter mask begins; 0 without filters."""
    fields: Mapping[str, tuple[Any, ...]] = element.fields or {}
    return fields["filter_mask"][1] - fields["stored_nbytes"][1] if "filter_mask" in fields else 0


def fill_elements(elements: NDArray[np.void], columns: ChunkColumns) -> None:
    """Write `columns` into `elements`, whose dtype is from `chunk_element` and whose size is the number of chunks.

    A chunk that was never written gets the undefined address and zeros.

    Raises
    ------
    LimitError
        A stored size does not fit its field.
    """
    shape = elements.shape
    missing = columns.addresses == 0
    any_missing = bool(missing.any())
    addresses = columns.addresses
    if any_missing:
        addresses = np.where(missing, np.uint64(UNDEFINED_ADDRESS), addresses)
    elements["address"] = addresses.reshape(shape)
    width = stored_nbytes_width(elements.dtype)
    if not width:
        return
    stored = columns.stored_nbytes
    if stored is None:
        raise LimitError("the chunks of a filtered dataset need their stored sizes")
    masks = np.zeros(1, np.uint32) if columns.filter_masks is None else columns.filter_masks
    if any_missing:
        stored = np.where(missing, 0, stored)
        masks = np.where(missing, 0, masks)
    largest = int(stored.max(initial=0))
    if largest >= 256**width:
        raise LimitError(
            f"a chunk of {largest} bytes after filters; its index stores sizes below "
            f"{256**width}: store this chunk without the filter that makes it larger",
            stored_nbytes=largest,
            limit=256**width - 1,
        )
    elements["stored_nbytes"] = stored.reshape(shape)
    # after the stored size, whose field overlaps it (see `element_dtype`)
    elements["filter_mask"] = masks.reshape(shape) if len(masks) == elements.size else masks


def columns_of(elements: NDArray[np.void]) -> ChunkColumns:
    """Return the columns of ``(n,)`` elements; address 0 for a chunk that was never written.

    Raises
    ------
    FormatError
        A chunk is at address 0.
    """
    addresses = elements["address"].astype(np.uint64)
    if not addresses.all():
        raise FormatError("an element of the chunk index has address 0, where the superblock is")
    addresses[addresses == UNDEFINED_ADDRESS] = 0
    width = stored_nbytes_width(elements.dtype)
    if not width:
        return ChunkColumns(addresses)
    stored = elements["stored_nbytes"].astype(np.uint64)
    if width not in (4, 8):  # the upper bytes of the field are those of the filter mask
        stored &= np.uint64(256**width - 1)
    return ChunkColumns(addresses, stored, elements["filter_mask"].astype(np.uint32))


def no_chunks(element: np.dtype[np.void]) -> ChunkColumns:
    """Return columns of length 0."""
    return columns_of(np.zeros(0, element))


def concatenate(parts: Sequence[ChunkColumns]) -> ChunkColumns:
    """Concatenate the chunks of parts of an index."""
    stored = [part.stored_nbytes for part in parts if part.stored_nbytes is not None]
    masks = [part.filter_masks for part in parts if part.filter_masks is not None]
    return ChunkColumns(
        np.concatenate([part.addresses for part in parts]),
        np.concatenate(stored) if stored else None,
        np.concatenate(masks) if masks else None,
    )


def encode_columns(columns: ChunkColumns, element: np.dtype[np.void]) -> bytes:
    """Encode the chunks as consecutive elements."""
    elements = np.empty(len(columns.addresses), element)
    fill_elements(elements, columns)
    return elements.tobytes()


def decode_elements(raw: Buffer, element: np.dtype[np.void]) -> ChunkColumns:
    """Decode consecutive elements; a chunk that was never written gets address 0."""
    return columns_of(np.frombuffer(raw, np.uint8).view(element))


def encode_pages(columns: ChunkColumns, n_pages: int, element: np.dtype[np.void]) -> bytes:
    """Encode the chunks as `n_pages` pages of equal length, each followed by its checksum.

    A page without a written chunk remains zero: its bit in the page bitmap tells readers to skip it.
    """
    page_nbytes = len(columns.addresses) // n_pages * element.itemsize
    pages = np.empty((n_pages, page_nbytes + SIZEOF_CHECKSUM), np.uint8)
    contents = pages[:, :page_nbytes]
    fill_elements(contents.view(element), columns)
    pages[:, page_nbytes:].view("<u4")[:, 0] = lookup3_rows(contents)
    pages[~pages_written(columns.addresses, n_pages)] = 0
    return pages.tobytes()


def decode_pages(
    raw: Buffer,
    written: NDArray[np.bool_],
    element: np.dtype[np.void],
    *,
    structure: str,
    first_page: int = 0,
) -> ChunkColumns:
    """Decode pages of equal length, each with its checksum; pages that were not written are ignored.

    Parameters
    ----------
    raw
        All pages.
    written
        ``(n_pages,) bool``, from the page bitmap.
    element
        From `chunk_element`.
    structure, first_page
        Name of the structure that contains the pages, and number of the first page, for the error.

    Raises
    ------
    FormatError
        The checksum of a page is wrong.
    """
    pages = np.frombuffer(raw, np.uint8).reshape(len(written), -1)
    contents = pages[:, :-SIZEOF_CHECKSUM]
    stored = np.ascontiguousarray(pages[:, -SIZEOF_CHECKSUM:]).view("<u4")[:, 0]
    rows = np.flatnonzero(written)
    damaged = rows[lookup3_rows(contents[rows] if len(rows) < len(written) else contents) != stored[rows]]
    n_damaged = len(damaged)
    if n_damaged:
        raise FormatError(
            f"{structure}: the checksums of {n_damaged:,} of {len(written):,} pages are wrong, the first is page "
            f"{first_page + int(damaged[0]):,}",
            structure=structure,
            n_damaged=n_damaged,
            page=first_page + int(damaged[0]),
        )
    if len(rows) < len(written):
        contents = np.where(written[:, None], contents, np.uint8(0xFF))  # decodes to the undefined address
    return columns_of(contents.view(element).ravel())


def pages_written(addresses: NDArray[np.uint64], n_pages: int) -> NDArray[np.bool_]:
    """Return which of `n_pages` pages of equal length have a written chunk: ``(n_pages,) bool``."""
    return np.asarray(addresses.reshape(n_pages, -1).any(axis=1))


def encode_page_bitmap(written: NDArray[np.bool_]) -> bytes:
    """Encode one bit per page, the first in the highest bit of the first byte (H5VM_bit_set)."""
    return np.packbits(written).tobytes()


def decode_page_bitmap(raw: bytes, n_pages: int) -> NDArray[np.bool_]:
    """Decode one bit per page, the first in the highest bit of the first byte: ``(n_pages,) bool``."""
    return np.unpackbits(np.frombuffer(raw, np.uint8), count=n_pages).view(np.bool_)


def encode_block_prefix(signature: bytes, element: np.dtype[np.void], header_address: int) -> bytes:
    """Encode the first `SIZEOF_BLOCK_PREFIX` bytes of a block of an array."""
    return concat(
        signature,
        uint(0, 1, "version"),
        uint(client_id(element), 1, "client ID"),
        address(header_address, "header address"),
    )


def decode_block_prefix(
    block: bytes, structure: str, signature: bytes, element: np.dtype[np.void], header_address: int
) -> Fields:
    """Start to read a block of an array that ends with its checksum.

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    """
    fields = Fields.of_block(block, structure, signature)
    fields.expect(client_id(element), 1, "client ID")
    fields.expect(header_address, SIZEOF_ADDRESS, "header address")
    return fields
