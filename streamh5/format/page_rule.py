"""`PageRule`: where metadata may lie in a file with pages (specification IV.A.2.x, file space strategy PAGE).

HDF5's page buffer reads whole pages, and gives the library the part of a block that lies in the page of its first byte
(``H5PB_read``). So a block that is smaller than a page must not cross a page boundary, or it cannot be read. A block
that is at least as large as a page is read past the buffer; only its first bytes are not (``H5C__load_entry`` reads 512
bytes of an object header, then the rest), so it begins a page.

Such a block is also written past the buffer (``H5PB_write``). A program that changes the file would put the old bytes
of its last page back, if that page were in the buffer for a smaller block behind it: so nothing follows in its last
page. Neither does it in files of the library.
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

    def header_nbytes(self, nbytes: int, slack: int = 0) -> int:
        """Return the size to which an object header of `nbytes` is padded, with as much of `slack` as its page holds.

        Its rest after the first 512 bytes must not be smaller than a page if the header is larger. A header that fits a
        page stays in it: programs that change the file with a page buffer read the old beginning of a larger one again.
        """
        page = self.page_nbytes
        nbytes = max(nbytes, min(nbytes + slack, page)) if 0 < nbytes <= page else nbytes + slack
        return page + SPECULATIVE_NBYTES if page < nbytes < page + SPECULATIVE_NBYTES and page else nbytes


NO_PAGES = PageRule()
