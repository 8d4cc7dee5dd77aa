"""The map of a file: the extent of each structure, overlaps, and bytes to which nothing refers."""

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
    """The content of an extent."""

    SUPERBLOCK = "superblock"
    HEADER = "object headers"
    INDEX = "chunk indexes"
    HEAP = "heaps"
    DATA = "data"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class Extent:
    """The `nbytes` bytes at `address`, which belong to the object with the path `owner`.

    ``row`` is the row of a chunk in the chunk map of `owner`; None for other extents. ``pages`` are the sizes in bytes
    of the prefix and of each page of an index block whose pages are read one by one; empty for what the library reads
    as data; None for other extents.
    """

    kind: Kind
    owner: str
    address: int
    nbytes: int
    row: int | None = None
    pages: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Extents that share bytes.

    Attributes
    ----------
    n_pairs
        Number of extents that start inside another extent.
    pairs
        The first of them by address: the extent in which each starts, and the extent itself.
    chunk_rows
        Rows of all overlapping chunks in the chunk map of each owner: ``(n,) int64``.
    """

    n_pairs: int = 0
    pairs: tuple[tuple[Extent, Extent], ...] = ()
    chunk_rows: dict[str, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KindTotal:
    """All extents of one kind: their number, total size in bytes, and the range of addresses in which they lie."""

    kind: Kind
    n_extents: int
    nbytes: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Column:
    """The chunks of one dataset; both columns are ``(n,) int64``, as differences of addresses are needed."""

    owner: str
    addresses: NDArray[np.int64]
    nbytes: NDArray[np.int64]


class FileMap:
    """The extents of a file of `file_nbytes` bytes.

    A structure is claimed before it is decoded. As no two structures may share a byte, all of them together are not
    larger than the file. The first structure that exceeds its size is refused, which ends every circle of addresses.
    """

    def __init__(self, file_nbytes: int) -> None:
        self.file_nbytes = file_nbytes
        self._n_claimed = 0
        self._extents: list[Extent] = []
        self._columns: list[_Column] = []

    @property
    def claimed_nbytes(self) -> int:
        """Total size in bytes of the structures."""
        return self._n_claimed

    @property
    def n_structures(self) -> int:
        """Number of extents other than chunks."""
        return len(self._extents)

    def structures(self) -> tuple[Extent, ...]:
        """Return all extents other than chunks, in the order in which they were claimed."""
        return tuple(self._extents)

    def claim(
        self, kind: Kind, owner: str, address: int, nbytes: int, pages: tuple[int, ...] | None = None
    ) -> None:
        """Enter the extent of one structure. It must lie inside the file.

        Raises
        ------
        FormatError
            All structures together are larger than the file: some of them overlap.
        """
        self._n_claimed += nbytes
        if self._n_claimed > self.file_nbytes:
            raise FormatError(
                f"the structures of the file overlap: with {nbytes:,} bytes at address {address:,}, they have "
                f"{self._n_claimed:,} bytes in a file of {self.file_nbytes:,}",
                address=address,
                nbytes=nbytes,
            )
        if nbytes:
            self._extents.append(Extent(kind, owner, address, nbytes, pages=pages))

    def claim_chunks(self, owner: str, addresses: NDArray[np.uint64], nbytes: NDArray[Any]) -> None:
        """Enter the chunks of a dataset: addresses and sizes in bytes, ``(n,)`` each, in the order of its chunk map.

        All must lie inside the file. A row of 0 bytes must have the address of its end, where it touches nothing.
        """
        self._columns.append(_Column(owner, addresses.view(np.int64), nbytes.astype(np.int64, copy=False)))

    def overlaps(self, *, n_pairs: int = 20) -> Overlaps:
        """Find the extents that share bytes, and describe the first `n_pairs` pairs."""
        starts, stops = self._ranges()
        order = np.argsort(starts, kind="stable")
        starts, stops = starts[order], stops[order]
        furthest = np.maximum.accumulate(stops)
        inside = np.flatnonzero(starts[1:] < furthest[:-1]) + 1
        if not len(inside):
            return Overlaps()
        # The extent before each one that ends last: the most recent one that raised the maximum of ends.
        raised = np.concatenate([[True], stops[1:] > furthest[:-1]])
        holder = np.maximum.accumulate(np.where(raised, np.arange(len(stops)), 0))[inside - 1]
        pairs = tuple(
            (self._extent(int(order[first])), self._extent(int(order[second])))
            for first, second in zip(holder[:n_pairs], inside[:n_pairs], strict=True)
        )
        involved = np.unique(order[np.concatenate([holder, inside])])
        return Overlaps(len(inside), pairs, self._chunk_rows(involved))

    def totals(self) -> list[KindTotal]:
        """Return the total of each kind that occurs, including `Kind.UNUSED`, by first address."""
        totals = []
        for kind in Kind:
            starts, stops = self._ranges(kind)
            starts, stops = starts[stops > starts], stops[stops > starts]
            if len(starts):
                nbytes = int((stops - starts).sum())
                totals.append(KindTotal(kind, len(starts), nbytes, int(starts.min()), int(stops.max())))
        return sorted(totals, key=lambda total: total.start)

    def coverage(self, n_cells: int) -> dict[Kind, NDArray[np.float64]]:
        """Return how many bytes of each kind lie in each of `n_cells` equal cells of the file.

        Returns
        -------
        dict of `Kind` to ``(n_cells,) float64``
        """
        # Bytes before an edge: all extents that start before it, minus what the last of them has after the edge.
        edges = np.linspace(0, self.file_nbytes, n_cells + 1)
        covered = {}
        for kind in Kind:
            starts, stops = self._ranges(kind)
            order = np.argsort(starts, kind="stable")
            starts, stops = starts[order], stops[order]
            total = np.concatenate([[0], np.cumsum(stops - starts)])
            n_before = np.searchsorted(starts, edges)
            after = np.where(n_before > 0, np.concatenate([[0], stops])[n_before] - edges, 0)
            covered[kind] = np.diff(total[n_before] - np.maximum(after, 0))
        return covered

    def _ranges(self, kind: Kind | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return starts and stops of the extents of one kind, or of all extents: structures, then chunks."""
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
        """Return starts and stops of the ranges that no extent covers."""
        starts, stops = self._ranges()
        order = np.argsort(starts, kind="stable")
        starts = np.append(starts[order], self.file_nbytes)
        furthest = np.maximum.accumulate(np.concatenate([[0], stops[order]]))
        is_gap = starts > furthest
        return furthest[is_gap], starts[is_gap]

    def _extent(self, number: int) -> Extent:
        """Return the extent with the index `number` in `_ranges()`."""
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
        """Return the rows of the chunks among sorted indices into `_ranges()`, by owner."""
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
    """Reads the structures of one object, and enters them in the file map.

    Attributes
    ----------
    file, file_map
        The file, and its map.
    kind, owner
        Kind of the structures, and path of the object.
    """

    file: FileBytes
    file_map: FileMap
    kind: Kind
    owner: str

    @property
    def encoding(self) -> Encoding:
        """How the file encodes its fields."""
        return self.file.encoding

    def read(
        self,
        address: int,
        nbytes: int,
        structure: str,
        *,
        n_read: int | None = None,
        pages: tuple[int, ...] | None = None,
    ) -> bytes:
        """Claim `nbytes` bytes at `address`, and read them or the first `n_read` of them; for `pages` see `Extent`.

        The claim comes first, as it ends the walk over structures whose addresses form a circle.

        Raises
        ------
        FormatError
            They extend beyond the end of the file, or the structures of the file overlap.
        """
        self.claim(address, nbytes, structure, pages)
        return self.file.read(address, nbytes if n_read is None else n_read, structure)

    def claim(self, address: int, nbytes: int, structure: str, pages: tuple[int, ...] | None = None) -> None:
        """Claim `nbytes` bytes at `address` that were read already; errors are those of `read`."""
        self.file.check_range(address, nbytes, structure)
        self.file_map.claim(self.kind, self.owner, address, nbytes, pages)
