"""What every chunk index stores for a chunk: its address and, behind filters, stored size and mask."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from streamh5.errors import LimitError
from streamh5.format.checksum import SIZEOF_CHECKSUM, lookup3_rows
from streamh5.format.primitives import SIZEOF_ADDRESS, UNDEFINED_ADDRESS, encoded_length

SIZEOF_FILTER_MASK = 4


class ClientId(IntEnum):
    """The kinds of element that Fixed and Extensible Arrays name in their blocks."""

    UNFILTERED_CHUNKS = 0
    FILTERED_CHUNKS = 1


def sizeof_stored_nbytes(chunk_nbytes: int, layout_version: int = 4) -> int:
    """Return the width of the "size of chunk" field of a filtered chunk.

    One byte more than the raw size needs, since filters may let a chunk grow (H5D__farray_crt_context);
    layout version 5 always takes 8 bytes.
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
        return ChunkColumns(
            self.addresses[part],
            None if self.stored_nbytes is None else self.stored_nbytes[part],
            None if self.filter_masks is None else self.filter_masks[part],
        )

    def take(self, positions: NDArray[np.intp]) -> ChunkColumns:
        """Return copies of the chunks at `positions`."""
        return ChunkColumns(
            self.addresses[positions],
            None if self.stored_nbytes is None else self.stored_nbytes[positions],
            None if self.filter_masks is None else self.filter_masks[positions],
        )

    def padded(self, n_elements: int) -> ChunkColumns:
        """Return the same chunks and after them chunks never written, `n_elements` in all."""
        n_more = n_elements - len(self.addresses)
        if n_more == 0:
            return self
        return ChunkColumns(
            np.pad(self.addresses, (0, n_more)),
            None if self.stored_nbytes is None else np.pad(self.stored_nbytes, (0, n_more)),
            None if self.filter_masks is None else np.pad(self.filter_masks, (0, n_more)),
        )


def element_dtype(
    stored_nbytes_width: int | None, extra: tuple[tuple[str, str], ...] = ()
) -> np.dtype[np.void]:
    """Return the packed numpy dtype of an element, followed by the fields `extra`.

    The field for the stored size is 4 or 8 bytes, the next power of two, where the format has 2 to 8: it
    reaches into the filter mask, which `fill_elements` writes after it.
    """
    fields: list[tuple[str, str, int]] = [("address", "<u8", 0)]
    end = SIZEOF_ADDRESS
    if stored_nbytes_width is not None:
        fields.append(("stored_nbytes", "<u4" if stored_nbytes_width <= 4 else "<u8", end))
        fields.append(("filter_mask", "<u4", end + stored_nbytes_width))
        end += stored_nbytes_width + SIZEOF_FILTER_MASK
    for name, form in extra:
        fields.append((name, form, end))
        end += np.dtype(form).itemsize
    names, formats, offsets = zip(*fields, strict=True)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": end})


def fill_elements(
    elements: NDArray[np.void], columns: ChunkColumns, *, stored_nbytes_width: int | None
) -> None:
    """Write `columns` into `elements`, arrays of `element_dtype` of any shape with as many elements.

    A chunk that was never written gets the undefined address and zeros.

    Raises
    ------
    LimitError
        A stored size does not fit its field.
    """
    shape = elements.shape
    missing = columns.addresses == 0
    any_missing = bool(missing.any())
    address = columns.addresses
    if any_missing:
        address = np.where(missing, np.uint64(UNDEFINED_ADDRESS), address)
    elements["address"] = address.reshape(shape)
    if stored_nbytes_width is None:
        return
    stored = columns.stored_nbytes
    if stored is None:
        raise LimitError("the chunks of a filtered dataset need their stored sizes")
    masks = np.zeros(1, np.uint32) if columns.filter_masks is None else columns.filter_masks
    if any_missing:
        stored = np.where(missing, 0, stored)
        masks = np.where(missing, 0, masks)
    largest = int(stored.max(initial=0))
    if largest >= 256**stored_nbytes_width:
        raise LimitError(
            f"a chunk of {largest} bytes after filters; its index holds sizes below "
            f"{256**stored_nbytes_width}: store such a chunk without the filter that lets it grow",
            stored_nbytes=largest,
            limit=256**stored_nbytes_width - 1,
        )
    elements["stored_nbytes"] = stored.reshape(shape)
    elements["filter_mask"] = masks.reshape(shape) if len(masks) == elements.size else masks


def encode_elements(columns: ChunkColumns, *, stored_nbytes_width: int | None) -> bytes:
    """Encode the chunks one after the other."""
    elements = np.empty(len(columns.addresses), element_dtype(stored_nbytes_width))
    fill_elements(elements, columns, stored_nbytes_width=stored_nbytes_width)
    return elements.tobytes()


def encode_pages(columns: ChunkColumns, n_pages: int, *, stored_nbytes_width: int | None) -> bytes:
    """Encode the chunks as `n_pages` pages of one length, each followed by its checksum.

    A page without a written chunk stays zero: its bit in the page bitmap tells readers to skip it.
    """
    dtype = element_dtype(stored_nbytes_width)
    page_nbytes = len(columns.addresses) // n_pages * dtype.itemsize
    pages = np.empty((n_pages, page_nbytes + SIZEOF_CHECKSUM), np.uint8)
    contents = pages[:, :page_nbytes]
    fill_elements(contents.view(dtype), columns, stored_nbytes_width=stored_nbytes_width)
    pages[:, page_nbytes:].view("<u4")[:, 0] = lookup3_rows(contents)
    pages[~pages_written(columns.addresses, n_pages)] = 0
    return pages.tobytes()


def pages_written(addresses: NDArray[np.uint64], n_pages: int) -> NDArray[np.bool_]:
    """Return which of `n_pages` pages of one length have a written chunk: ``(n_pages,) bool``."""
    return np.asarray(addresses.reshape(n_pages, -1).any(axis=1))


def encode_page_bitmap(written: NDArray[np.bool_]) -> bytes:
    """Encode one bit a page, the first in the highest bit of the first byte (H5VM_bit_set)."""
    return np.packbits(written).tobytes()
