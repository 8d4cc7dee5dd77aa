"""What a verification has found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from streamh5.arguments.memory_size import format_nbytes
from streamh5.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.check.chunk_check import DamagedChunk
    from streamh5.reader.file_content import Finding


_N_SHOWN = 5


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification has checked and found.

    Attributes
    ----------
    path, file_nbytes
        The file.
    n_groups, n_datasets, n_attributes, n_structures
        What was read: objects, attributes, and blocks of metadata (headers, index pages, heaps).
    n_chunks, n_missing_chunks
        Stored chunks; and chunks of the grids that were never written, which read as the fill value.
    checked_data
        Whether chunks were read and decoded.
    n_decoded_chunks, n_undecoded_chunks
        Chunks whose filters were all undone, damaged ones included; and chunks with a filter that is not
        available here.
    n_damaged_chunks, damaged_chunks
        How many chunks are damaged, and the first of them.
    n_damaged_structures, damaged_structures
        How many other structures are damaged, and the first of them.
    n_unchecked, unchecked
        What the file has that the reader does not know or cannot follow, and so does not check.
    unprotected_nbytes
        Stored bytes that no checksum in the file covers: a flipped bit there cannot be found.
    compared_with
        The h5py and HDF5 whose chunk maps were compared with ours; None if they were not.
    seconds
        What it took.
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
    n_damaged_chunks: int
    damaged_chunks: tuple[DamagedChunk, ...]
    n_damaged_structures: int
    damaged_structures: tuple[Finding, ...]
    n_unchecked: int
    unchecked: tuple[Finding, ...]
    unprotected_nbytes: int
    compared_with: str | None
    seconds: float

    @property
    def damaged(self) -> bool:
        """Whether anything is damaged."""
        return self.n_damaged_chunks > 0 or self.n_damaged_structures > 0

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for could be checked."""
        return self.n_unchecked == 0 and self.n_undecoded_chunks == 0

    @property
    def ok(self) -> bool:
        """Whether everything was checked and nothing is damaged."""
        return self.complete and not self.damaged

    def to_dict(self) -> dict[str, Any]:
        """Return everything as dicts, lists and numbers, for JSON."""
        verdict = {"ok": self.ok, "damaged": self.damaged, "complete": self.complete}
        return verdict | asdict(self)

    def __repr__(self) -> str:
        return printable("\n".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        verdict = (
            "DAMAGED"
            if self.damaged
            else "good"
            if self.complete
            else "not damaged, as far as it was checked"
        )
        yield f"{self.path}: {verdict}"
        yield (
            f"  {format_nbytes(self.file_nbytes)}: {counted(self.n_groups, 'group')}, "
            f"{counted(self.n_datasets, 'dataset')}, {counted(self.n_attributes, 'attribute')}, "
            f"{counted(self.n_structures, 'block')} of metadata"
        )
        yield "  " + self._chunk_line()
        if self.compared_with and not self.n_damaged_structures:
            yield f"  {self.compared_with} sees the same chunks"
        if self.unprotected_nbytes:
            nbytes = format_nbytes(self.unprotected_nbytes)
            yield f"  {nbytes} have no checksum in the file: flips there cannot be found"
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
        if self.n_unchecked:
            yield f"  {counted(self.n_unchecked, 'structure')} not checked"
            yield from _some([f"{one.path}: {one.problem}" for one in self.unchecked], self.n_unchecked)

    def _chunk_line(self) -> str:
        parts = [counted(self.n_chunks, "chunk")]
        if self.n_missing_chunks:
            parts.append(f"{self.n_missing_chunks:,} never written")
        if not self.checked_data:
            parts.append("none decoded, as asked")
        elif self.n_undecoded_chunks:
            parts.append(f"{self.n_undecoded_chunks:,} NOT decoded: a filter is not available here")
        elif self.n_chunks:
            parts.append(f"{self.n_decoded_chunks:,} decoded")
        return ", ".join(parts) + f" ({self.seconds:.2f} s)"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, singular or plural."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _some(lines: list[str], n_all: int) -> Iterator[str]:
    for line in lines[:_N_SHOWN]:
        yield f"    {line}"
    if n_all > _N_SHOWN:
        yield f"    and {n_all - min(_N_SHOWN, len(lines)):,} more"
