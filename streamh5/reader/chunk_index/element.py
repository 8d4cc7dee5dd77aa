"""Elements and pages of Fixed and Extensible Arrays from bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.format.checksum import SIZEOF_CHECKSUM, lookup3_rows
from streamh5.format.chunk_index.element import ChunkColumns, element_dtype
from streamh5.format.primitives import UNDEFINED_ADDRESS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.format.checksum import Buffer

__all__ = ["concatenate", "decode_elements", "decode_page_bitmap", "decode_pages", "missing"]


def decode_elements(raw: Buffer, *, stored_nbytes_width: int | None) -> ChunkColumns:
    """Decode elements that stand one after the other.

    Returns
    -------
    ChunkColumns
        Address 0 for a chunk that was never written.
    """
    elements = np.frombuffer(raw, np.uint8).view(element_dtype(stored_nbytes_width))
    return _columns(elements, stored_nbytes_width)


def decode_pages(
    raw: Buffer,
    written: NDArray[np.bool_],
    *,
    stored_nbytes_width: int | None,
    structure: str,
    first_page: int = 0,
) -> ChunkColumns:
    """Decode pages of one length, each with its checksum; one that is not written is not looked at.

    Parameters
    ----------
    raw
        All pages.
    written
        ``(n_pages,) bool``, from the page bitmap.
    stored_nbytes_width
        Of the elements, None without filters.
    structure, first_page
        What the pages belong to, and the number of the first, for the error.

    Raises
    ------
    FormatError
        The checksum of a page is wrong.
    """
    dtype = element_dtype(stored_nbytes_width)
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
        contents = np.where(written[:, None], contents, np.uint8(0xFF))  # reads as the undefined address
    return _columns(contents.view(dtype).ravel(), stored_nbytes_width)


def decode_page_bitmap(raw: bytes, n_pages: int) -> NDArray[np.bool_]:
    """Decode one bit a page, the first in the highest bit of the first byte: ``(n_pages,) bool``."""
    return np.unpackbits(np.frombuffer(raw, np.uint8), count=n_pages).view(np.bool_)


def missing(*, filtered: bool) -> ChunkColumns:
    """Return the columns of no chunk at all."""
    nothing = np.zeros(0, np.uint64)
    return ChunkColumns(
        nothing, nothing if filtered else None, nothing.astype(np.uint32) if filtered else None
    )


def concatenate(parts: list[ChunkColumns]) -> ChunkColumns:
    """Join the chunks of parts of an index."""
    stored = [part.stored_nbytes for part in parts if part.stored_nbytes is not None]
    masks = [part.filter_masks for part in parts if part.filter_masks is not None]
    return ChunkColumns(
        np.concatenate([part.addresses for part in parts]),
        np.concatenate(stored) if stored else None,
        np.concatenate(masks) if masks else None,
    )


def _columns(elements: NDArray[np.void], stored_nbytes_width: int | None) -> ChunkColumns:
    addresses = elements["address"].astype(np.uint64)
    if not addresses.all():
        raise FormatError("an element of the chunk index has address 0, where the superblock is")
    addresses[addresses == UNDEFINED_ADDRESS] = 0
    if stored_nbytes_width is None:
        return ChunkColumns(addresses)
    # The field is read with as many bytes as numpy has: those of the filter mask behind it are cut off.
    stored = elements["stored_nbytes"].astype(np.uint64)
    if stored_nbytes_width not in (4, 8):
        stored &= np.uint64(256**stored_nbytes_width - 1)
    return ChunkColumns(addresses, stored, elements["filter_mask"].astype(np.uint32))
