"""The result of `verify`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from streamh5.arguments.memory_size import format_nbytes
from streamh5.errors import counted, printable_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.check.chunk_check import DamagedChunk
    from streamh5.reader.file_content import Finding


_N_SHOWN = 5  # findings of each kind in the `repr`


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` has checked and found.

    Its `repr` is a summary of a few lines.

    Attributes
    ----------
    path, file_nbytes
        Path of the file, and its size in bytes.
    n_groups, n_datasets, n_attributes, n_structures
        Numbers of objects, attributes, and blocks of metadata (headers, pages of indexes, heaps) that were read.
    n_chunks, n_missing_chunks
        Numbers of stored chunks, and of chunks that were never written and read as the fill value.
    checked_data
        Whether chunks were read and decoded.
    n_decoded_chunks, n_undecoded_chunks
        Numbers of chunks that were decoded, including damaged ones, and of chunks with a filter that is not available
        on this machine.
    why_undecoded
        Why chunks were not decoded, with the names and numbers of their filters, and what helps.
    n_damaged_chunks, damaged_chunks
        Number of damaged chunks, and the first 100 of them.
    n_damaged_structures, damaged_structures
        Number of other damaged structures, and the first 1,000 of them.
    n_unchecked, unchecked
        Number of structures that the reader does not know or cannot follow and therefore does not check, and the first
        1,000 of them.
    page_nbytes
        Size of the pages of the file; 0 without pages.
    n_unbuffered, unbuffered
        Number of structures that cannot be read with a page buffer (``page_buf_size`` of h5py), because they cross the
        end of a page, and the first 1,000 of them. Files of the HDF5 library have some, which readers without a page
        buffer read; they are no damage.
    n_unsafe, unsafe
        Number of object headers that HDF5 can damage when it changes the file in mode ``"r+"`` with a page buffer,
        because their first block is not smaller than a page, and the first 1,000 of them. They are no damage, and can
        be read; ``streamh5 convert --page auto`` makes a file without. Not counted with pages of 512 bytes, where HDF5
        can damage every header.
    unprotected_nbytes
        Stored bytes that no checksum in the file covers: a flipped bit there cannot be detected.
    compared_with
        Versions of the h5py and HDF5 with which chunk maps were compared; None if they were not compared.
    object_checksum
        Which checksum of the object store agrees with all bytes of the object, or why none was compared; None for a
        local file, and if it was not asked for. Another checksum is a damaged structure.
    seconds
        Time of the check.

    Examples
    --------
    >>> import json
    >>> with streamh5.File("out.h5", "w") as f:
    ...     f["x"] = np.zeros((1000, 1000))
    >>> report = streamh5.verify("out.h5", data=False)
    >>> report.ok, report.damaged, report.complete
    (True, False, True)
    >>> text = json.dumps(report.to_dict())
    """

    path: str
    file_nbytes: int
    n_groups: int
    n_datasets: int
    n_attributes: int
    n_structures: int
    n_chunks: int
    n_missing_chunks: int
    checked_data: bool
    n_decoded_chunks: int
    n_undecoded_chunks: int
    why_undecoded: tuple[str, ...]
    n_damaged_chunks: int
    damaged_chunks: tuple[DamagedChunk, ...]
    n_damaged_structures: int
    damaged_structures: tuple[Finding, ...]
    n_unchecked: int
    unchecked: tuple[Finding, ...]
    page_nbytes: int
    n_unbuffered: int
    unbuffered: tuple[Finding, ...]
    n_unsafe: int
    unsafe: tuple[Finding, ...]
    unprotected_nbytes: int
    compared_with: str | None
    object_checksum: str | None
    seconds: float

    @property
    def damaged(self) -> bool:
        """Whether anything is damaged."""
        return self.n_damaged_chunks > 0 or self.n_damaged_structures > 0

    @property
    def complete(self) -> bool:
        """Whether everything that was requested could be checked."""
        return self.n_unchecked == 0 and self.n_undecoded_chunks == 0

    @property
    def ok(self) -> bool:
        """Whether everything was checked and nothing is damaged."""
        return self.complete and not self.damaged

    def to_dict(self) -> dict[str, Any]:
        """Return all fields and the verdict as values for JSON."""
        verdict = {"ok": self.ok, "damaged": self.damaged, "complete": self.complete}
        return verdict | asdict(self)

    def __repr__(self) -> str:
        return printable_lines(self._lines())

    def _repr_html_(self) -> str:
        from streamh5.check.html_repr import verify_html  # now: only notebooks need it
        from streamh5.display.document import fragment

        return fragment(*verify_html(self))

    def _lines(self) -> Iterator[str]:
        verdict = (
            "DAMAGED"
            if self.damaged
            else "good"
            if self.complete
            else "not damaged, as far as it was checked"
        )
        yield f"{self.path}: {verdict}"
        (_, size), (_, objects), *others = report_facts(self)
        yield f"  {size}: {objects}"
        yield from (f"  {text}" for _, text in others)
        if self.n_damaged_structures:
            yield f"  {counted(self.n_damaged_structures, 'structure')} damaged"
            yield from _some(
                [f"{one.path} (header at {one.address:,}): {one.problem}" for one in self.damaged_structures],
                self.n_damaged_structures,
            )
        if self.n_damaged_chunks:
            yield f"  {counted(self.n_damaged_chunks, 'chunk')} damaged"
            yield from _some(
                [
                    f"{one.path} chunk {one.coords} at address {one.address:,}, "
                    f"{one.stored_nbytes:,} bytes: {one.problem}"
                    for one in self.damaged_chunks
                ],
                self.n_damaged_chunks,
            )
        if self.n_unbuffered:
            structures = counted(self.n_unbuffered, "structure")
            yield f"  {structures} that a page buffer (page_buf_size) cannot read; other readers can"
            yield from _some([f"{one.path}: {one.problem}" for one in self.unbuffered], self.n_unbuffered)
        elif self.page_nbytes:
            yield f"  pages of {format_nbytes(self.page_nbytes)}; a page buffer can read all metadata"
        if self.n_unsafe:
            headers = counted(self.n_unsafe, "object header")
            yield f"  {headers} that HDF5 can damage when it changes the file with a page buffer; to be safe:"
            yield "    streamh5 convert --page auto IN OUT"
            yield from _some([f"{one.path}: {one.problem}" for one in self.unsafe], self.n_unsafe)
        if self.n_unchecked:
            yield f"  {counted(self.n_unchecked, 'structure')} not checked"
            yield from _some([f"{one.path}: {one.problem}" for one in self.unchecked], self.n_unchecked)

    def _chunk_line(self) -> str:
        parts = [counted(self.n_chunks, "chunk")]
        if self.n_missing_chunks:
            parts.append(f"{self.n_missing_chunks:,} never written")
        if not self.checked_data:
            parts.append("none decoded, as requested")
        elif self.n_undecoded_chunks:
            parts.append(f"{self.n_undecoded_chunks:,} NOT decoded")
        elif self.n_chunks:
            parts.append(f"{self.n_decoded_chunks:,} decoded")
        return ", ".join(parts) + f" ({self.seconds:.2f} s)"


def report_facts(report: VerifyReport) -> Iterator[tuple[str, str]]:
    """Yield names and values of what was checked, for a table."""
    yield "size", format_nbytes(report.file_nbytes)
    yield (
        "objects",
        f"{counted(report.n_groups, 'group')}, {counted(report.n_datasets, 'dataset')}, "
        f"{counted(report.n_attributes, 'attribute')}, {counted(report.n_structures, 'block')} of metadata",
    )
    yield "data", report._chunk_line()
    if report.why_undecoded:
        yield "not decoded", "; ".join(report.why_undecoded)
    if report.compared_with and not report.n_damaged_structures:
        yield "other reader", f"{report.compared_with} sees the same chunks"
    if report.object_checksum:
        yield "object store", report.object_checksum
    if report.unprotected_nbytes:
        nbytes = format_nbytes(report.unprotected_nbytes)
        yield (
            "unprotected",
            f"{nbytes} have no checksum in the file: flipped bits there cannot be detected",
        )


def _some(lines: list[str], n_all: int) -> Iterator[str]:
    for line in lines[:_N_SHOWN]:
        yield f"    {line}"
    if n_all > _N_SHOWN:
        yield f"    and {n_all - min(_N_SHOWN, len(lines)):,} more"
