"""What lies where in a file: the extent of every structure, overlaps, and bytes to which nothing refers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import FormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.format.fields import Encoding
    from streamh5.reader.file_bytes import FileBytes


class Kind(Enum):
    """What an extent of a file holds."""

    SUPERBLOCK = "superblock"
    HEADER = "object headers"
    INDEX = "chunk indexes"
    HEAP = "heaps"
    DATA = "data"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class Extent:
    """`nbytes` bytes from `address` on that belong to `owner`.

    ``row`` is the chunk's row in the chunk map of `owner`, None for what is no chunk.
    """

    kind: Kind
    owner: str
    address: int
    nbytes: int
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Extents that share bytes.

    Attributes
    ----------
    n_pairs
        How many start inside another.
    pairs
        The first of them by address, each with the one that it starts in.
    chunk_rows
        For each owner of overlapping chunks, their rows in its chunk map: ``(n,) int64``.
    """

    n_pairs: int = 0
    pairs: tuple[tuple[Extent, Extent], ...] = ()
    chunk_rows: dict[str, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KindTotal:
    """All extents of one kind: their number, bytes, and the range of addresses that they lie in."""

    kind: Kind
    n_extents: int
    nbytes: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Column:
    """Chunks of one dataset: ``(n,) int64`` each."""

    owner: str
    addresses: NDArray[np.int64]
    nbytes: NDArray[np.int64]


class FileMap:
    """Extents of a file of `file_nbytes` bytes.

    Structures are claimed before they are decoded. Since no two may share a byte, together they are not
    larger than the file; the first that makes them larger is refused, which ends every cycle.
    """

    def __init__(self, file_nbytes: int) -> None:
        self.file_nbytes = file_nbytes
        self._n_claimed = 0
        self._extents: list[Extent] = []
        self._columns: list[_Column] = []

    @property
    def n_structures(self) -> int:
        """Extents other than chunks."""
        return len(self._extents)

    def structures(self) -> tuple[Extent, ...]:
        """Return all extents but chunks, in the order in which they were reached."""
        return tuple(self._extents)

    def claim(self, kind: Kind, owner: str, address: int, nbytes: int) -> None:
        """Enter the extent of one structure, which lies inside the file.

        Raises
        ------
        FormatError
            All structures together are larger than the file, so some overlap.
        """
        self._n_claimed += nbytes
        if self._n_claimed > self.file_nbytes:
            raise FormatError(
                f"the structures of the file overlap: with {nbytes:,} bytes at address {address:,} they take "
                f"{self._n_claimed:,} bytes of a file of {self.file_nbytes:,}",
                address=address,
                nbytes=nbytes,
            )
        if nbytes:
            self._extents.append(Extent(kind, owner, address, nbytes))

    def claim_chunks(self, owner: str, addresses: NDArray[np.uint64], nbytes: NDArray[Any]) -> None:
        """Enter chunks, row by row, all inside the file: ``(n,)`` both.

        A row without bytes stands at the end of the file, where it touches nothing.
        """
        self._columns.append(_Column(owner, addresses.view(np.int64), nbytes.astype(np.int64, copy=False)))

    def overlaps(self, *, n_pairs: int = 20) -> Overlaps:
        """Find the extents that share bytes, and show the first `n_pairs`."""
        starts, stops = self._ranges()
        order = np.argsort(starts, kind="stable")
        starts, stops = starts[order], stops[order]
        furthest = np.maximum.accumulate(stops)
        inside = np.flatnonzero(starts[1:] < furthest[:-1]) + 1
        if not len(inside):
            return Overlaps()
        # The extent that reaches furthest before each: the last whose end raised the maximum.
        raised = np.concatenate([[True], stops[1:] > furthest[:-1]])
        holder = np.maximum.accumulate(np.where(raised, np.arange(len(stops)), 0))[inside - 1]
        pairs = tuple(
            (self._extent(int(order[first])), self._extent(int(order[second])))
            for first, second in zip(holder[:n_pairs], inside[:n_pairs], strict=True)
        )
        involved = np.unique(order[np.concatenate([holder, inside])])
        return Overlaps(len(inside), pairs, self._chunk_rows(involved))

    def totals(self) -> list[KindTotal]:
        """Sum up each kind that occurs, `Kind.UNUSED` included, by first address."""
        totals = []
        for kind in Kind:
            starts, stops = self._ranges(kind)
            starts, stops = starts[stops > starts], stops[stops > starts]
            if len(starts):
                nbytes = int((stops - starts).sum())
                totals.append(KindTotal(kind, len(starts), nbytes, int(starts.min()), int(stops.max())))
        return sorted(totals, key=lambda total: total.start)

    def coverage(self, n_cells: int) -> dict[Kind, NDArray[np.float64]]:
        """Cut the file into equal cells and say how many bytes of each are of each kind.

        Returns
        -------
        dict of `Kind` to ``(n_cells,) float64``
        """
        edges = np.linspace(0, self.file_nbytes, n_cells + 1)
        covered = {}
        for kind in Kind:
            starts, stops = self._ranges(kind)
            order = np.argsort(starts, kind="stable")
            starts, stops = starts[order], stops[order]
            total = np.concatenate([[0], np.cumsum(stops - starts)])
            n_before = np.searchsorted(starts, edges)
            behind = np.where(n_before > 0, np.concatenate([[0], stops])[n_before] - edges, 0)
            covered[kind] = np.diff(total[n_before] - np.maximum(behind, 0))
        return covered

    def _ranges(self, kind: Kind | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return starts and stops of all extents, or those of one kind, structures before chunks."""
        if kind is Kind.UNUSED:
            return self._gaps()
        extents = [extent for extent in self._extents if kind in (None, extent.kind)]
        columns = self._columns if kind in (None, Kind.DATA) else []
        starts = [np.array([extent.address for extent in extents], np.int64)]
        nbytes = [np.array([extent.nbytes for extent in extents], np.int64)]
        starts += [column.addresses for column in columns]
        nbytes += [column.nbytes for column in columns]
        start = np.concatenate(starts)
        return start, start + np.concatenate(nbytes)

    def _gaps(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return starts and stops of what no extent covers."""
        starts, stops = self._ranges()
        order = np.argsort(starts, kind="stable")
        starts = np.append(starts[order], self.file_nbytes)
        furthest = np.maximum.accumulate(np.concatenate([[0], stops[order]]))
        is_gap = starts > furthest
        return furthest[is_gap], starts[is_gap]

    def _extent(self, number: int) -> Extent:
        """Return the extent at `number` of `_ranges()`."""
        if number < len(self._extents):
            return self._extents[number]
        number -= len(self._extents)
        for column in self._columns:
            if number < len(column.addresses):
                address, nbytes = int(column.addresses[number]), int(column.nbytes[number])
                return Extent(Kind.DATA, column.owner, address, nbytes, number)
            number -= len(column.addresses)
        raise IndexError(number)

    def _chunk_rows(self, numbers: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        rows = {}
        start = len(self._extents)
        for column in self._columns:
            stop = start + len(column.addresses)
            own = numbers[np.searchsorted(numbers, start) : np.searchsorted(numbers, stop)] - start
            if len(own):
                rows[column.owner] = own
            start = stop
        return rows


@dataclass(frozen=True, slots=True)
class StructureReader:
    """Reads what belongs to one object.

    Attributes
    ----------
    file, file_map
        The file, and the map in which structures are entered.
    kind, owner
        What the structures are, and the path of their object.
    """

    file: FileBytes
    file_map: FileMap
    kind: Kind
    owner: str

    @property
    def encoding(self) -> Encoding:
        """How the file encodes its fields."""
        return self.file.encoding

    def read(self, address: int, nbytes: int, structure: str, *, n_read: int | None = None) -> bytes:
        """Claim `nbytes` bytes at `address`, and read them, or the first `n_read` of them.

        The claim comes first: it is what ends the walk over structures that point to each other in a circle.

        Raises
        ------
        FormatError
            They are not all inside the file, or the structures of the file overlap.
        """
        self.file.check_range(address, nbytes, structure)
        self.file_map.claim(self.kind, self.owner, address, nbytes)
        return self.file.read(address, nbytes if n_read is None else n_read, structure)
