"""The file engine turns calls into ``(address, bytes)``. It does no I/O and has no threads.

============ ============================ =====================================================
state        calls                        what happens
============ ============================ =====================================================
defining     create_*, set_attribute      the tree grows
             begin                        -> streaming: the front region is laid out
             resume                       -> streaming, with the front region of an interrupted write
             extend_file                  -> streaming, after the end of an existing file
streaming    create_*, set_attribute      new objects go to the end of the file
             reserve, record              chunks get addresses and are entered in their table
             snapshot                     index, headers, superblock for the present state are yielded
             finish                       -> finished: index, headers, superblock are yielded
finished                                  nothing can be called any more
============ ============================ =====================================================

A failure in ``begin`` or ``finish`` leaves the engine failed: nothing can be called any more.

The front region contains the superblock, the object headers and the chunk indexes of all objects that
exist when the first data arrives. It is reserved then and filled by ``finish``; later objects, and
objects that outgrew their place, go to the end of the file. ``finish`` yields referents before references
and the superblock last, so an interrupted file has no reachable object.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any

from streamh5.engine.address_cursor import AddressCursor
from streamh5.engine.metadata_plan import Front, MetadataPlan, reserve_front
from streamh5.errors import DatatypeError, StateError
from streamh5.format.link import Link, encode_link
from streamh5.format.superblock import SIZEOF_SUPERBLOCK, Superblock, encode_superblock
from streamh5.model.chunk_table import ChunkTable
from streamh5.model.object_path import split_path
from streamh5.model.parts import encode_parts
from streamh5.model.tree import (
    DatasetNode,
    DatatypeNode,
    GroupNode,
    LinkedTarget,
    LinkValue,
    Node,
    ReservedRange,
    make_parents,
    put_attribute,
    take_link,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    import numpy as np

    from streamh5.model.attribute_spec import AttributeSpec
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.reference import Parts


class State(Enum):
    """State of an engine: see the table of the module."""

    DEFINING = "being defined"
    STREAMING = "being written"
    FINISHED = "finished"
    FAILED = "failed"


class Engine:
    """Build one HDF5 file from calls.

    Thread-safe: `reserve` acquires only the lock of the cursor, everything else the lock of the engine.

    Parameters
    ----------
    track_order
        Track and index the creation order of links and attributes of the root group.
    header_slack
        Bytes that `begin` reserves after each object header for later attributes and links.
    libver
        Oldest library that is to read the file: ``"v108"``, ``"v110"`` or ``"v200"``.
    """

    def __init__(self, *, track_order: bool = False, header_slack: int = 0, libver: str = "v110") -> None:
        self.root = GroupNode("/", track_order)
        self.state = State.DEFINING
        self._header_slack = header_slack
        self._libver = libver
        self._cursor = AddressCursor()
        self._front = Front({}, {}, None, 0)
        self._lock = threading.RLock()  # reentrant: `allocate` calls `begin`

    @property
    def front(self) -> Front:
        """The front region; empty before `begin`."""
        return self._front

    @property
    def end_of_file(self) -> int:
        """First address after everything reserved so far."""
        return self._cursor.address

    def create_group(self, path: str, *, track_order: bool = False) -> GroupNode:
        """Add a group, with its parents where missing.

        Raises
        ------
        PathError
            The path is taken or leads through a dataset.
        """
        with self._lock, self._in(State.DEFINING, State.STREAMING):
            parent, name = make_parents(self.root, path, track_order=track_order)
            group = GroupNode(f"{parent.path.rstrip('/')}/{name}", track_order)
            parent.links[name] = group
            self._adopt(group)
            return group

    def create_datatype(self, datatype: DatatypeNode) -> None:
        """Add a named datatype, with its parent groups where missing.

        Raises
        ------
        PathError
            The path is taken or leads through a dataset.
        """
        with self._lock, self._in(State.DEFINING, State.STREAMING):
            parent, name = make_parents(self.root, datatype.path, track_order=datatype.track_order)
            parent.links[name] = datatype
            self._adopt(datatype)

    def create_dataset(self, spec: DatasetSpec) -> DatasetNode:
        """Add a dataset, with its parent groups where missing.

        Raises
        ------
        PathError
            The path is taken or leads through a dataset.
        """
        with self._lock, self._in(State.DEFINING, State.STREAMING):
            n_numbers = (spec.grid.n_numbers or 0) if spec.chunks is not None else 0
            table = ChunkTable(n_numbers, spec.chunk_nbytes, filtered=bool(spec.filters))
            dataset = DatasetNode(spec, table)
            parent, name = make_parents(self.root, spec.path, track_order=spec.track_order)
            parent.links[name] = dataset
            self._adopt(dataset)
            return dataset

    def remove_dataset(self, dataset: DatasetNode) -> None:
        """Remove a dataset."""
        with self._lock, self._in(State.DEFINING, State.STREAMING):
            take_link(self.root, dataset)

    def set_attribute(self, node: Node, attribute: AttributeSpec) -> None:
        """Set an attribute of an object; one of the same name is replaced."""
        with self._lock, self._in(State.DEFINING, State.STREAMING):
            put_attribute(node, attribute)
            _mark_changed(node)

    def remove_attribute(self, node: Node, name: str) -> None:
        """Remove an attribute of an object."""
        with self._lock, self._in(State.DEFINING, State.STREAMING):
            del node.attributes[name]
            _mark_changed(node)

    def begin(self) -> None:
        """Reserve the front region. Called by the first `reserve`; calling it again does nothing."""
        with self._lock:
            if self.state is State.STREAMING:
                return
            with self._in(State.DEFINING), self._latching():
                self._cursor.reserve(SIZEOF_SUPERBLOCK)
                self._front = reserve_front(self.root, self._cursor.reserve, header_slack=self._header_slack)
                for node in walk(self.root):
                    self._adopt(node)
                self.state = State.STREAMING

    def reserve(self, nbytes: int) -> int:
        """Reserve `nbytes` for stored chunks and return their address."""
        if self.state is not State.STREAMING:
            self.begin()
        return self._cursor.reserve(nbytes)

    def record(self, dataset: DatasetNode, records: ChunkRecords) -> None:
        """Enter written chunks, ``(n,)`` of `RECORD`, in the chunk table."""
        with self._lock, self._in(State.DEFINING, State.STREAMING):
            dataset.table.record(records)

    def extend(self, dataset: DatasetNode, n_rows: int) -> None:
        """Extend a dataset of unknown length to at least `n_rows`."""
        with self._lock, self._in(State.DEFINING, State.STREAMING):
            dataset.n_rows = max(dataset.n_rows, n_rows)

    def set_value(self, dataset: DatasetNode, value: np.ndarray[Any, Any]) -> None:
        """Set data without chunks: an array of the stored dtype, or of objects if the dataset has parts.

        Raises
        ------
        DatatypeError
            A value does not fit the dtype.
        """
        path = dataset.spec.path
        try:
            parts = encode_parts(value, dataset.spec.dtype) if dataset.spec.has_parts else None
        except DatatypeError as error:
            raise DatatypeError(f"{path}: {error}", path=path) from error
        with self._lock, self._in(State.DEFINING, State.STREAMING):
            dataset.value, dataset.parts = value, parts

    def set_parts(self, dataset: DatasetNode, parts: Parts) -> None:
        """Set data without chunks, given as parts: bytes, references and objects of variable length."""
        with self._lock, self._in(State.DEFINING, State.STREAMING):
            dataset.value, dataset.parts = None, parts

    def link(self, path: str, target: LinkedTarget) -> None:
        """Add a name of an object of this file, or a soft or external link.

        Raises
        ------
        PathError
            The name is taken.
        """
        with self._lock, self._in(State.DEFINING, State.STREAMING):
            if isinstance(target, LinkValue):
                encode_link(Link(split_path(path)[-1], target, 0))  # refuses targets that a link cannot store
            parent, name = make_parents(self.root, path, track_order=self.root.track_order)
            parent.links[name] = target
            if isinstance(target, Node):
                target.n_links += 1
                _mark_changed(target)  # its header counts its names

    def allocate(self, dataset: DatasetNode) -> ReservedRange:
        """Reserve all chunks of a dataset with an Implicit index, once."""
        with self._lock, self._in(State.DEFINING, State.STREAMING):
            if dataset.chunk_region is None:
                self.begin()
                dataset.chunk_region = self._region(dataset.n_numbers * dataset.spec.chunk_nbytes)
            return dataset.chunk_region

    def resume(self, front: Front, end: int) -> None:
        """Continue a file whose front region was laid out before.

        Objects that are created now get the places of their paths in the front region.

        Parameters
        ----------
        front
            The region that `begin` reserved then.
        end
            First address after everything to keep.
        """
        with self._lock, self._in(State.DEFINING):
            self._front = front
            self._cursor = AddressCursor(end)
            self._adopt(self.root)
            self.state = State.STREAMING

    def share(self, begin: Callable[[int], Callable[[int], tuple[int, int]]]) -> None:
        """Take addresses from leases from now on: see `AddressCursor.share`."""
        with self._lock, self._in(State.STREAMING):
            self._cursor.share(begin)

    def unshare(self, end: int, free: Iterable[tuple[int, int]]) -> int:
        """Continue at `end`, after all leases: see `AddressCursor.unshare`."""
        with self._lock, self._in(State.STREAMING):
            return self._cursor.unshare(end, free)

    @property
    def free_nbytes(self) -> int:
        """Bytes before the end of the file that leases have left unused."""
        return self._cursor.free_nbytes

    def extend_file(self, root: GroupNode, end: int) -> None:
        """Continue an existing file after its end; its groups are in `root`."""
        with self._lock, self._in(State.DEFINING):
            self.root = root
            self._cursor = AddressCursor(end)
            self.state = State.STREAMING

    def finish(self) -> Generator[tuple[int, bytes], None, None]:
        """Encode everything except chunks, in the front region where it fits.

        Yields
        ------
        tuple of int, bytes
            Address and content; referents before references, the superblock last.
        """
        self.begin()
        with self._lock, self._in(State.STREAMING), self._latching():
            self.state = State.FINISHED
            yield from self._encode(self._place)

    def snapshot(self) -> Generator[tuple[int, bytes], None, None]:
        """Encode the present state of the file after its present end; writing continues after it.

        `record` waits while the snapshot is encoded. See `finish` for the yielded values.
        """
        self.begin()
        with self._lock, self._in(State.STREAMING):
            yield from self._encode(lambda _, nbytes: self._cursor.reserve(nbytes))

    def _encode(self, place: Callable[[ReservedRange | None, int], int]) -> Iterator[tuple[int, bytes]]:
        plan = MetadataPlan(self.root, self._front.heap, place)
        yield from plan.encode()
        # the end is read last: other threads may have reserved chunks while a snapshot was encoded
        superblock = Superblock(
            end_of_file=self.end_of_file,
            root_address=plan.root_address,
            version=2 if self._libver == "v108" else 3,
        )
        yield 0, encode_superblock(superblock)

    def _adopt(self, node: Node) -> None:
        """Give an object its places in the front region, if it has some there."""
        node.header = self._front.headers.get(node.path)
        if isinstance(node, DatasetNode):
            node.index = self._front.indexes.get(node.path)

    def _region(self, nbytes: int) -> ReservedRange:
        return ReservedRange(self._cursor.reserve(nbytes), nbytes)

    def _place(self, region: ReservedRange | None, nbytes: int) -> int:
        """Return the address of a block: its reserved region if it fits there, else the end of the file."""
        if region is not None and nbytes <= region.nbytes:
            return region.address
        return self._cursor.reserve(nbytes)

    @contextmanager
    def _in(self, *states: State) -> Iterator[None]:
        """Refuse a call in any other state."""
        if self.state not in states:
            raise StateError(f"the file is {self.state.value}; nothing more can be added to it")
        yield

    @contextmanager
    def _latching(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.state = State.FAILED
            raise


def _mark_changed(node: Node) -> None:
    if isinstance(node, GroupNode):
        node.is_changed = True
