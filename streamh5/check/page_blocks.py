"""Blocks of a file with pages that HDF5's page buffer cannot read, or not change: see `PageRule`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.format.page_rule import SPECULATIVE_NBYTES
from streamh5.reader.file_content import Finding
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.reader.file_content import FileContent
    from streamh5.reader.file_map import Extent


def unbuffered_blocks(content: FileContent) -> Iterator[Finding]:
    """Yield the structures with a block that a reader with a page buffer would get only in part."""
    page_nbytes = content.page_nbytes
    for extent in content.file_map.structures() if page_nbytes else ():
        if extent.kind is not Kind.DATA and _is_cut(extent, page_nbytes):
            yield _finding(content, extent, f"cross the end of a page of {page_nbytes:,}")


def unsafe_blocks(content: FileContent) -> Iterator[Finding]:
    """Yield the object headers that HDF5 can damage when it changes the file with a page buffer.

    Their first block is large. HDF5 itself writes them for datasets with compact data, and for named datatypes of
    many fields. Of pages of 512 bytes, no header is safe: none is named.
    """
    page_nbytes = content.page_nbytes
    for extent in content.file_map.structures() if page_nbytes > SPECULATIVE_NBYTES else ():
        if extent.kind is Kind.HEADER and extent.pages is None and extent.nbytes >= page_nbytes:
            yield _finding(content, extent, f"in one block are not smaller than a page of {page_nbytes:,}")


def _finding(content: FileContent, extent: Extent, problem: str) -> Finding:
    address = extent.address + content.superblock.base_address
    text = f"{extent.nbytes:,} bytes of {extent.kind.value} at address {address:,} {problem}"
    return Finding(extent.owner, address, text)


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
