"""The file engine turns calls into ``(address, bytes)``. It does no I/O and has no threads.

============ ============================ =====================================================
state        calls                        what happens
============ ============================ =====================================================
defining     create_*, set_attribute      the tree grows
             begin                        -> streaming: the front region is laid out
             resume                       -> streaming, with the front region of an interrupted write
             extend_file                  -> streaming, after the end of an existing file
streaming    create_*, set_attribute, ... new objects go to the end of the file
             reserve, record              chunks get addresses and are entered in their table
             snapshot                     index, headers, superblock for the present state are yielded
             flush                        the same; from then on, only what changes is written again
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
from dataclasses import replace
from enum import Enum
from functools import wraps
from types import MappingProxyType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from streamh5.engine.address_cursor import AddressCursor
from streamh5.engine.file_bound import max_file_nbytes
from streamh5.engine.file_tree import FileTree
from streamh5.engine.front_region import PAGE_STEP_NBYTES, FrontLayout
from streamh5.engine.metadata_plan import Front, MetadataPlan
from streamh5.engine.metadata_space import MetadataSpace
from streamh5.errors import StateError
from streamh5.format.file_space_info import (
    SIZEOF_SUPERBLOCK_EXTENSION,
    FileSpaceInfo,
    FileSpaceStrategy,
    encode_superblock_extension,
)
from streamh5.format.page_rule import NO_PAGES, PageRule
from streamh5.format.superblock import (
    SIZEOF_SUPERBLOCK,
    Superblock,
    encode_superblock,
    renewed_superblock,
)
from streamh5.model.tree import DatasetNode, GroupNode, ReservedRange, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from streamh5.engine.header_plan import HeaderPlan
    from streamh5.engine.metadata_plan import Placer
    from streamh5.engine.reference_targets import ReferenceTargets
    from streamh5.model.reference import Reference, StoredReference
    from streamh5.model.tree import Node

P = ParamSpec("P")
T = TypeVar("T")


class State(Enum):
    """State of an engine: see the table of the module."""

    DEFINING = "being defined"
    STREAMING = "being written"
    FINISHED = "finished"
    FAILED = "failed"


def _locked(change: Callable[Concatenate[FileTree, P], T]) -> Callable[Concatenate[Engine, P], T]:
    """Make a change of the tree a call of the engine: under its lock, and refused once the file is finished."""

    @wraps(change)
    def call(self: Engine, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._lock:
            self._check(State.DEFINING, State.STREAMING)
            return change(self._tree, *args, **kwargs)

    return call


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
    page
        Size in bytes of the pages of the file; True for pages that fit the front region, False for none.
    """

    def __init__(
        self,
        *,
        track_order: bool = False,
        header_slack: int = 0,
        libver: str = "v110",
        page: bool | int = False,
    ) -> None:
        self._tree = FileTree(track_order=track_order)
        self.state = State.DEFINING
        self._header_slack = header_slack
        self._libver = libver
        self._page = page
        self._rule = NO_PAGES
        self._cursor = AddressCursor()
        self._space: MetadataSpace | None = None
        self._superblock: bytes | None = None
        self._has_extension = False
        self._lock = threading.RLock()  # reentrant: `allocate` calls `begin`

    @property
    def root(self) -> GroupNode:
        """The root group."""
        return self._tree.root

    @property
    def unused_nbytes(self) -> int:
        """Bytes of earlier generations, and of this write, to which nothing refers any more."""
        return self._tree.unused_nbytes

    @property
    def front(self) -> Front:
        """The front region; empty before `begin`."""
        return self._tree.front

    @property
    def end_of_file(self) -> int:
        """First address after everything reserved so far."""
        return self._cursor.address if self._space is None else self._space.end_of_file

    create_group = _locked(FileTree.create_group)
    create_datatype = _locked(FileTree.create_datatype)
    create_dataset = _locked(FileTree.create_dataset)
    remove_dataset = _locked(FileTree.remove_dataset)
    remove = _locked(FileTree.remove)
    move = _locked(FileTree.move)
    link = _locked(FileTree.link)
    resize = _locked(FileTree.resize)
    make_chunked = _locked(FileTree.make_chunked)
    set_attribute = _locked(FileTree.set_attribute)
    remove_attribute = _locked(FileTree.remove_attribute)
    record = _locked(FileTree.record)
    find_chunks = _locked(FileTree.find_chunks)
    extend = _locked(FileTree.extend)
    set_value = _locked(FileTree.set_value)
    set_parts = _locked(FileTree.set_parts)

    def max_nbytes(self) -> int | None:
        """Return the size that the file cannot exceed, unless more objects are created; None if nobody knows."""
        with self._lock:
            return max_file_nbytes(self.root, self._rule.page_nbytes)

    def front_end(self) -> int:
        """Return the end of the front region."""
        return self._tree.front.end

    def begin(self) -> None:
        """Reserve the front region. Called by the first `reserve`; calling it again does nothing."""
        with self._lock:
            self._begin()

    def _begin(self) -> Mapping[Node, HeaderPlan]:
        """See `begin`; return the headers that are planned already, until something changes."""
        if self.state is State.STREAMING:
            return {}
        self._check(State.DEFINING)
        with self._latching():
            layout = FrontLayout(self.root, header_slack=self._header_slack)
            page_nbytes = layout.fitting_page(SIZEOF_SUPERBLOCK) if self._page is True else int(self._page)
            self._tree.front = front = layout.front(SIZEOF_SUPERBLOCK, page_nbytes)
            self._cursor.reserve(front.end)
            self._begin_at(self._cursor, page_nbytes)
            for node in walk(self.root):
                self._tree.adopt(node)
            self.state = State.STREAMING
            return {} if page_nbytes else layout.plans

    def reserve(self, nbytes: int) -> int:
        """Reserve `nbytes` for stored chunks and return their address."""
        if self.state is not State.STREAMING:
            self.begin()
        return self._cursor.reserve(nbytes)

    def allocate(self, dataset: DatasetNode) -> ReservedRange:
        """Reserve all chunks of a dataset with an Implicit index, once."""
        with self._lock:
            self._check(State.DEFINING, State.STREAMING)
            if dataset.chunk_region is None:
                self.begin()
                dataset.chunk_region = self._region(dataset.n_numbers * dataset.spec.chunk_nbytes)
            return dataset.chunk_region

    def resume(self, front: Front, end: int, free: Iterable[tuple[int, int]] = ()) -> None:
        """Continue a file whose front region was laid out before.

        Objects that are created now get the places of their paths in the front region.

        Parameters
        ----------
        front
            The region that `begin` reserved then.
        end
            First address after everything to keep.
        free
            Ranges before it that are free.
        """
        with self._lock:
            self._check(State.DEFINING)
            cursor = AddressCursor(end, free=free)
            if self._page and not front.page_nbytes:  # it was interrupted before it had pages
                page_nbytes = PAGE_STEP_NBYTES if self._page is True else int(self._page)
                extension = cursor.reserve_aligned(SIZEOF_SUPERBLOCK_EXTENSION, page_nbytes)
                front = replace(front, page_nbytes=page_nbytes, extension=extension)
            self._tree.front = front
            self._begin_at(cursor, front.page_nbytes)
            self._tree.adopt(self.root)
            self.state = State.STREAMING

    def share(self, begin: Callable[[int], Callable[[int], tuple[int, int]]]) -> None:
        """Take addresses from leases from now on: see `AddressCursor.share`."""
        with self._lock:
            self._check(State.STREAMING)
            self._cursor.share(begin)

    def unshare(self, end: int, free: Iterable[tuple[int, int]]) -> int:
        """Continue at `end`, after all leases: see `AddressCursor.unshare`."""
        with self._lock:
            self._check(State.STREAMING)
            return self._cursor.unshare(end, free)

    @property
    def free_nbytes(self) -> int:
        """Bytes before the end of the file that leases have left unused."""
        return self._cursor.free_nbytes

    def extend_file(self, root: GroupNode, end: int, superblock: bytes, page_nbytes: int = 0) -> None:
        """Continue an existing file after its end.

        Parameters
        ----------
        root
            Its tree.
        end
            First address after everything to keep.
        superblock
            The superblock, as the file has it.
        page_nbytes
            Size of its pages; 0 for none.
        """
        with self._lock:
            self._check(State.DEFINING)
            self._tree.continue_from(root)
            self._superblock = superblock
            self._begin_at(AddressCursor(PageRule(page_nbytes).end_of_page(end)), page_nbytes)
            self.state = State.STREAMING

    def finish(self) -> Generator[tuple[int, bytes], None, None]:
        """Encode the last generation of the file: everything that changed, in the front region where it fits.

        Yields
        ------
        tuple of int, bytes
            Address and content; referents before references, the superblock last.
        """
        with self._lock:
            headers = self._begin()
            self._check(State.STREAMING)
            with self._latching():
                self.state = State.FINISHED
                plan = self._plan(self._place, headers)
                yield from self._encode(plan)
                self._tree.unused_nbytes += plan.settle()

    def flush(self) -> Generator[tuple[int, bytes], None, None]:
        """Encode a generation of the file, after which writing continues: see `finish`.

        `record` waits while it is encoded. A failure changes nothing, so that it can be repeated.
        Once everything was yielded, the next generation has other addresses.
        """
        self.begin()
        with self._lock:
            self._check(State.STREAMING)
            plan = self._plan(self._place)
            yield from self._encode(plan)
            self._tree.unused_nbytes += plan.settle()
            self._tree.front = replace(self._tree.front, headers={}, indexes={}, heap=None)

    def snapshot(self) -> Generator[tuple[int, bytes], None, None]:
        """Encode the present state of the file after its present end; writing continues after it.

        `record` waits while the snapshot is encoded. See `finish` for the yielded values.
        """
        self.begin()
        with self._lock:
            self._check(State.STREAMING)
            yield from self._encode(self._plan(self._place_behind))

    def targets(self) -> ReferenceTargets:
        """Return where references of the present tree lead."""
        with self._lock:
            return self._tree.targets()

    def object_of(self, reference: Reference | StoredReference) -> Node | None:
        """Return the object to which a reference leads; None if it is not in the file."""
        with self._lock:
            return self._tree.object_of(reference)

    def _plan(
        self,
        place: Placer,
        headers: Mapping[Node, HeaderPlan] = MappingProxyType({}),
    ) -> MetadataPlan:
        return MetadataPlan(self.targets(), self._tree.front.heap, place, headers, self._rule)

    def _encode(self, plan: MetadataPlan) -> Iterator[tuple[int, bytes]]:
        yield from plan.encode()
        if self._space is not None and self._space.fill_page():
            yield self.end_of_file - 1, b"\0"  # so that snapshots have the whole page, too
        # the end is read last: other threads may have reserved chunks while a snapshot was encoded
        end, root_address = self.end_of_file, plan.address(self.root)
        if self._superblock is None:
            front = self._tree.front
            if front.page_nbytes and not self._has_extension:
                info = FileSpaceInfo(FileSpaceStrategy.PAGE, front.page_nbytes)
                yield front.extension, encode_superblock_extension(info)
            version = 2 if self._libver == "v108" else 3
            yield (
                0,
                encode_superblock(
                    Superblock(end, root_address, extension_address=front.extension, version=version)
                ),
            )
            self._has_extension = True  # a generation that could not be written is repeated with it
        else:
            yield 0, renewed_superblock(self._superblock, end_of_file=end, root_address=root_address)

    def _region(self, nbytes: int) -> ReservedRange:
        return ReservedRange(self._cursor.reserve(nbytes), nbytes)

    def _place(self, region: ReservedRange | None, nbytes: int, /, *, is_raw: bool = False) -> int:
        """Return the address of a block: its reserved region if it fits there, else the end of the file."""
        if region is not None and nbytes <= region.nbytes:
            return region.address
        return self._place_behind(region, nbytes, is_raw=is_raw)

    def _place_behind(self, region: ReservedRange | None, nbytes: int, /, *, is_raw: bool = False) -> int:
        """Return an address at the end of the file, where there is nothing yet."""
        if is_raw or self._space is None:
            return self._cursor.reserve(nbytes)
        return self._space.reserve(nbytes)

    def _begin_at(self, cursor: AddressCursor, page_nbytes: int = 0) -> None:
        """Take addresses from a cursor, in a file with pages of this size; 0 for none."""
        self._cursor, self._rule = cursor, PageRule(page_nbytes)
        self._space = MetadataSpace(cursor, self._rule) if page_nbytes else None

    def _check(self, *states: State) -> None:
        """Refuse a call in any other state."""
        if self.state not in states:
            raise StateError(f"the file is {self.state.value}; nothing more can be added to it")

    @contextmanager
    def _latching(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.state = State.FAILED
            raise
