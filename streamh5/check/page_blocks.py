"""Blocks of metadata that HDF5's page buffer cannot read: see `PageRule`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.format.page_rule import SPECULATIVE_NBYTES
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.reader.file_map import Extent, FileMap


def unbuffered_blocks(file_map: FileMap, page_nbytes: int) -> Iterator[Extent]:
    """Yield the structures with a block that a reader with a page buffer would get only in part.

    Parameters
    ----------
    file_map
        Of all structures of a file.
    page_nbytes
        Size of its pages.
    """
    for extent in file_map.structures():
        if extent.kind is not Kind.DATA and _is_cut(extent, page_nbytes):
            yield extent


def _is_cut(extent: Extent, page_nbytes: int) -> bool:
    address, nbytes = extent.address, extent.nbytes
    if extent.pages == ():
        return False
    if extent.pages is not None:
        prefix, page = extent.pages
        starts = np.arange(address + prefix, address + nbytes, page)
        sizes = np.minimum(page, address + nbytes - starts)
        crosses = (starts % page_nbytes + sizes > page_nbytes) & (sizes < page_nbytes)
        return _crosses(address, prefix, page_nbytes) or bool(crosses.any())
    if extent.kind is Kind.HEADER:  # the first bytes, then the rest
        first = min(nbytes, SPECULATIVE_NBYTES)
        rest = nbytes - first
        return _crosses(address, first, page_nbytes) or _crosses(address + first, rest, page_nbytes)
    return _crosses(address, nbytes, page_nbytes)


def _crosses(address: int, nbytes: int, page_nbytes: int) -> bool:
    return nbytes < page_nbytes < address % page_nbytes + nbytes
