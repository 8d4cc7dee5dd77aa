"""The file engine: calls in, ``(address, bytes)`` out. No I/O, no threads of its own.

============ ============================ =====================================================
state        calls                        what happens
============ ============================ =====================================================
defining     create_*, set_attribute      the tree grows
             begin                        -> streaming: the front region is laid out
             resume                       -> streaming, with a front region from before
streaming    create_*, set_attribute      new objects go to the end of the file
             reserve, record              chunks get addresses and are entered in their table
             snapshot                     index, headers, superblock of what is there come out
             finish                       -> finished: index, headers, superblock come out
finished                                  nothing more
============ ============================ =====================================================

A failure in ``begin`` or ``finish`` leaves the engine failed: nothing more can be asked of it.

The front region holds the superblock, the object headers and the chunk indexes of everything that
is known when the first data comes. It is reserved then and filled by ``finish``; what has outgrown
its place, or was not known, goes to the end. ``finish`` yields referents before references and the
superblock last: a file that was interrupted has no reachable object.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from streamh5.errors import StateError
from streamh5.format.superblock import SIZEOF_SUPERBLOCK, Superblock, encode_superblock
from streamh5.plan.address_cursor import AddressCursor
from streamh5.plan.chunk_table import ChunkTable
from streamh5.plan.header_plan import (
    dataset_messages,
    encode_header,
    encode_index,
    group_messages,
    sizeof_header,
    sizeof_index,
)
from streamh5.plan.string_heap import StringHeap, blank_elements
from streamh5.plan.tree import DatasetNode, GroupNode, Node, Region, make_parents, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamh5.plan.attribute_spec import AttributeSpec
    from streamh5.plan.chunk_table import ChunkRecords
    from streamh5.plan.dataset_spec import DatasetSpec

__all__ = ["Engine", "Front", "State"]


class State(Enum):
    """Where an engine is in its life."""

    DEFINING = "being defined"
    STREAMING = "being written"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Front:
    """The front region: what `Engine.begin` reserved for objects by their paths, and its end."""

    headers: dict[str, Region]
    indexes: dict[str, Region]
    heap: Region | None
    end: int


class Engine:
    """Build one HDF5 file from calls.

    Thread-safe: `reserve` takes the cursor's lock only; everything else one lock of the engine.

    Parameters
    ----------
    track_order
        Track and index the creation order of links and attributes of the root group.
    header_slack
        Bytes that `begin` reserves behind each object header for attributes and links that come
        later.
    """

    def __init__(self, *, track_order: bool = False, header_slack: int = 0) -> None:
        self.root = GroupNode("/", track_order)
        self.state = State.DEFINING
        self._header_slack = header_slack
        self._cursor = AddressCursor()
        self._front = Front({}, {}, None, 0)
        self._lock = threading.RLock()

    @property
    def front(self) -> Front:
        """The front region; empty before `begin`."""
        return self._front

    @property
    def end_of_file(self) -> int:
        """First address behind everything reserved so far."""
        return self._cursor.address

    def create_group(self, path: str, *, track_order: bool = False) -> GroupNode:
        """Add a group, with its parents where missing.

        Raises
        ------
        PathError
            The path is taken or leads through a dataset.
        """
        with self._in(State.DEFINING, State.STREAMING):
            parent, name = make_parents(self.root, path, track_order=track_order)
            group = GroupNode(f"{parent.path.rstrip('/')}/{name}", track_order)
            parent.links[name] = group
            self._adopt(group)
            return group

    def create_dataset(self, spec: DatasetSpec) -> DatasetNode:
        """Add a dataset, with its parent groups where missing.

        Raises
        ------
        PathError
            The path is taken or leads through a dataset.
        """
        with self._in(State.DEFINING, State.STREAMING):
            n_chunks = (spec.grid.n_chunks or 0) if spec.chunks is not None else 0
            table = ChunkTable(n_chunks, spec.chunk_nbytes, filtered=bool(spec.filters))
            dataset = DatasetNode(spec, table)
            parent, name = make_parents(self.root, spec.path, track_order=spec.track_order)
            parent.links[name] = dataset
            self._adopt(dataset)
            return dataset

    def set_attribute(self, node: Node, attribute: AttributeSpec) -> None:
        """Set an attribute of an object; one of the same name is replaced."""
        with self._in(State.DEFINING, State.STREAMING):
            node.attributes[attribute.name] = attribute

    def remove_attribute(self, node: Node, name: str) -> None:
        """Remove an attribute of an object."""
        with self._in(State.DEFINING, State.STREAMING):
            del node.attributes[name]

    def begin(self) -> None:
        """Reserve the front region. Called by the first `reserve`; calling it again does nothing."""
        with self._lock:
            if self.state is State.STREAMING:
                return
            with self._in(State.DEFINING), self._latching():
                self._reserve_front()
                self.state = State.STREAMING

    def reserve(self, nbytes: int) -> int:
        """Reserve `nbytes` for stored chunks and return their address."""
        if self.state is not State.STREAMING:
            self.begin()
        return self._cursor.reserve(nbytes)

    def record(self, dataset: DatasetNode, records: ChunkRecords) -> None:
        """Enter chunks that have been written, as ``(n,)`` of `RECORD`."""
        with self._in(State.DEFINING, State.STREAMING):
            dataset.table.record(records)

    def extend(self, dataset: DatasetNode, n_rows: int) -> None:
        """Let a dataset whose leading extent is open have at least `n_rows`."""
        with self._in(State.DEFINING, State.STREAMING):
            dataset.n_rows = max(dataset.n_rows, n_rows)

    def set_value(self, dataset: DatasetNode, value: bytes) -> None:
        """Set the value of a scalar dataset."""
        with self._in(State.DEFINING, State.STREAMING):
            dataset.value = value

    def resume(self, front: Front, end: int) -> None:
        """Go on with a file whose front region was laid out before.

        Objects that are created now get the places that the front region has for their paths.

        Parameters
        ----------
        front
            What `begin` reserved then.
        end
            First address behind everything that is to be kept.
        """
        with self._in(State.DEFINING):
            self._front = front
            self._cursor = AddressCursor(end)
            self._adopt(self.root)
            self.state = State.STREAMING

    def finish(self) -> Iterator[tuple[int, bytes]]:
        """Encode everything that is not chunks, in its place in the front region where it fits.

        Yields
        ------
        tuple of int, bytes
            Address and content; referents before references, the superblock last.
        """
        self.begin()
        with self._in(State.STREAMING), self._latching():
            self.state = State.FINISHED
            yield from self._encode(self._place)

    def snapshot(self) -> Iterator[tuple[int, bytes]]:
        """Encode the file as it is now, all of it behind its present end; writing goes on after it.

        Chunks that are recorded while it is encoded wait. Yields as `finish` does.
        """
        self.begin()
        with self._in(State.STREAMING):
            yield from self._encode(lambda _, nbytes: self._cursor.reserve(nbytes))

    def _encode(self, place: Callable[[Region | None, int], int]) -> Iterator[tuple[int, bytes]]:
        heap = StringHeap(attribute for node in walk(self.root) for attribute in node.attributes.values())
        heap.place(place(self._front.heap, heap.nbytes) if heap.nbytes else 0)
        yield from heap.encode()
        addresses: dict[int, int] = {}
        for node in walk(self.root):
            if isinstance(node, DatasetNode):
                index_address = place(node.index, sizeof_index(node))
                yield from encode_index(node, index_address)
                messages = dataset_messages(node, index_address, heap.elements)
            else:
                links = {name: addresses[id(child)] for name, child in node.links.items()}
                messages = group_messages(node, links, heap.elements)
            nbytes = sizeof_header(node, messages)
            address = place(node.header, nbytes)
            addresses[id(node)] = address
            reserved = node.header.nbytes if node.header and address == node.header.address else nbytes
            yield address, encode_header(node, messages, reserved)
        superblock = Superblock(end_of_file=self.end_of_file, root_address=addresses[id(self.root)])
        yield 0, encode_superblock(superblock)

    def _adopt(self, node: Node) -> None:
        """Give an object the places that an earlier front region has for it."""
        node.header = self._front.headers.get(node.path)
        if isinstance(node, DatasetNode):
            node.index = self._front.indexes.get(node.path)

    def _reserve_front(self) -> None:
        self._cursor.reserve(SIZEOF_SUPERBLOCK)
        nodes = list(walk(self.root))
        heap = StringHeap(attribute for node in nodes for attribute in node.attributes.values())
        headers: dict[str, Region] = {}
        indexes: dict[str, Region] = {}
        for node in reversed(nodes):
            if isinstance(node, DatasetNode):
                messages = dataset_messages(node, 0, blank_elements)
            else:
                messages = group_messages(node, dict.fromkeys(node.links, 0), blank_elements)
            headers[node.path] = self._region(sizeof_header(node, messages) + self._header_slack)
        heap_region = self._region(heap.nbytes) if heap.nbytes else None
        for node in nodes:
            if isinstance(node, DatasetNode) and node.spec.shape is not None and None not in node.spec.shape:
                indexes[node.path] = self._region(sizeof_index(node))
        self._front = Front(headers, indexes, heap_region, self._cursor.address)
        for node in nodes:
            self._adopt(node)

    def _region(self, nbytes: int) -> Region:
        return Region(self._cursor.reserve(nbytes), nbytes)

    def _place(self, region: Region | None, nbytes: int) -> int:
        """Address for a block: its reserved place when it fits there, else the end of the file."""
        if region is not None and nbytes <= region.nbytes:
            return region.address
        return self._cursor.reserve(nbytes)

    @contextmanager
    def _in(self, *states: State) -> Iterator[None]:
        with self._lock:
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
