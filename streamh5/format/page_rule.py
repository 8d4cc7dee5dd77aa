"""`PageRule`: where metadata may lie in a file with pages (specification IV.A.2.x, file space strategy PAGE).

HDF5's page buffer reads whole pages, and gives the library the part of a block that lies in the page of its first byte
(``H5PB_read``). So a block that is smaller than a page must not cross a page boundary, or it cannot be read. A block
that is at least as large as a page is read past the buffer, and begins a page.

Such a block is also written past the buffer (``H5PB_write``). A program that changes the file would put the old bytes
of its last page back, if that page were in the buffer for a smaller block behind it: so nothing follows in its last
page. Neither does it in files of the library.

The first 512 bytes of an object header are read through the buffer whatever its size (``H5C__load_entry``). If the
first block was written past it, they are the old ones when the header is read again. So that block is smaller than a
page; messages that do not fit go to a continuation block, which is read as a whole. The library does the same when it
adds attributes. (Pages of 512 bytes have the same defect with every header, also in files of the library.)
"""

from __future__ import annotations

from dataclasses import dataclass

MIN_PAGE_NBYTES = 512
"""H5F_FILE_SPACE_PAGE_SIZE_MIN."""

MAX_PAGE_NBYTES = 1 << 30
"""H5F_FILE_SPACE_PAGE_SIZE_MAX."""

SPECULATIVE_NBYTES = 512
"""H5O_SPEC_READ_SIZE: object headers are read from their first 512 bytes on."""


@dataclass(frozen=True, slots=True)
class PageRule:
    """Where blocks of metadata may lie.

    Parameters
    ----------
    page_nbytes
        Size of a page, a multiple of 512; 0 in a file without pages, where they may lie anywhere.
    """

    page_nbytes: int = 0

    @property
    def is_paged(self) -> bool:
        """Whether the file has pages."""
        return self.page_nbytes > 0

    def position(self, position: int, nbytes: int) -> int:
        """Return the first position for a block of `nbytes`, from `position` on."""
        page = self.page_nbytes
        if not page or not nbytes:
            return position
        inside = position % page
        return position if inside + nbytes <= page or not inside else position - inside + page

    def allows(self, position: int, nbytes: int) -> bool:
        """Return whether a block may lie at `position`."""
        return self.position(position, nbytes) == position

    def end(self, position: int, nbytes: int) -> int:
        """Return where the next block may begin behind one of `nbytes` at `position`."""
        stop = position + nbytes
        return stop if nbytes < self.page_nbytes else self.end_of_page(stop)

    def end_of_page(self, position: int) -> int:
        """Return the first page boundary from `position` on; `position` itself without pages."""
        return position + -position % self.page_nbytes if self.page_nbytes else position

    def holds(self, nbytes: int) -> bool:
        """Return whether `nbytes` fit a page."""
        return nbytes <= self.page_nbytes or not self.page_nbytes

    def holds_header(self, nbytes: int) -> bool:
        """Return whether the first block of an object header may have `nbytes`: less than a page."""
        return nbytes < self.page_nbytes or not self.page_nbytes

    def header_nbytes(self, nbytes: int, slack: int) -> int:
        """Return the size to which a block of `nbytes` that `holds_header` is padded, with the `slack` that fits."""
        return max(nbytes, min(nbytes + slack, self.page_nbytes - 1)) if self.page_nbytes else nbytes + slack


NO_PAGES = PageRule()
