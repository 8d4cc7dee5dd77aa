"""Datasets whose shape changes, while other calls write them."""

from __future__ import annotations

import threading
from abc import abstractmethod
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.memory_size import check_held
from streamh5.errors import SpecError, StateError
from streamh5.filters import FilterChain
from streamh5.handles.dataset_facts import DatasetFacts
from streamh5.handles.dataset_writer import DatasetWriter
from streamh5.handles.new_shape import cut_regions, new_shapes
from streamh5.handles.stored_settings import check_changeable
from streamh5.model.block_value import as_elements
from streamh5.model.chunk_grid import ChunkGrid
from streamh5.model.chunk_shape import auto_chunks
from streamh5.processes.turns import Turns
from streamh5.write.chunk_writer import ChunkWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.handles.session import Session
    from streamh5.model.tree import DatasetNode

MIN_ROWS = 512
"""Extent of the chunks that data without chunks gets when it grows, if it has one dimension, such as a time axis."""

D = TypeVar("D", bound=DatasetFacts)
P = ParamSpec("P")
T = TypeVar("T")


def writing(method: Callable[Concatenate[D, P], T]) -> Callable[Concatenate[D, P], T]:
    """Make a method one call of the session, for which `close` waits: see `Session.call`."""

    @wraps(method)
    def call(self: D, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.session.call():
            return method(self, *args, **kwargs)

    return call


class ResizableDataset(DatasetFacts):
    """The part of `Dataset` that changes its shape."""

    def __init__(
        self, session: Session, node: DatasetNode, chain: FilterChain, *, write_empty_chunks: bool
    ) -> None:
        super().__init__(session, node)
        # Rows and values are stored in the order of the calls. `_flush` does not take this lock: `close` has waited for
        # the calls, and a signal handler that ends the write must not wait for the call that it interrupts.
        self._lock = threading.Lock()
        self._turns = Turns()  # alone: what changes the shape. Before `_lock`
        self.out = DatasetWriter(session, node, writes_empty=write_empty_chunks)
        if node.spec.chunks is not None:
            self._write_for_present_shape(chain)

    @abstractmethod
    def __setitem__(self, region: Any, value: Any) -> None:
        """Write a region."""

    @abstractmethod
    def _append_after(self, n_rows: int) -> None:
        """Append after the first `n_rows` from now on."""

    @check_keywords
    @writing
    def resize(self, size: Any, axis: int | None = None, *, maxshape: Any = None) -> None:
        """Change the shape; chunks outside the new shape are dropped, and new elements have the fill value.

        Blocks that other threads have written with `write_block` must be entered before, with `record`.

        Parameters
        ----------
        size
            The new shape, or the new extent along `axis`.
        axis
            The only axis whose extent changes.
        maxshape
            New maximum shape, with None for an unlimited extent; True for unlimited extents everywhere. By default it
            stays. With it, a dataset of fixed shape can grow, too, which the HDF5 library does not allow; data without
            chunks gets chunks.

        Raises
        ------
        ShapeError
            The shape has another rank, or exceeds the maximum shape.
        SpecError
            The dataset has no chunks and `maxshape` is not given, or its data cannot be changed.
        StateError
            The file is closed, or other processes write the dataset (`part_writer`) and chunks would be dropped or get
            other numbers.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (10, 4), maxshape=(None, 4), chunks=(10, 4))
        ...     x.resize(20, axis=0)
        >>> x.shape
        (20, 4)
        """
        self._check_changeable()
        self._turns.alone(self._resize, size, axis, maxshape)

    def _resize(self, size: Any, axis: int | None, maxshape: Any) -> None:
        with self._lock:
            shape, bounds = new_shapes(self._node.spec, size, axis, maxshape)
            if self._node.spec.chunks is None:
                if maxshape is None:
                    raise SpecError(
                        f"{self.name} is stored without chunks, so its shape is fixed; pass maxshape= to store it in "
                        "chunks",
                        path=self.name,
                    )
                self._make_chunked(shape)
            is_full = self.n_appended == (self._node.shape or (0,))[0]
            n_rows = shape[0] if is_full else min(self.n_appended, shape[0])
            self._resize_to(shape, bounds)
            self._append_after(n_rows)

    def _resize_to(
        self, shape: tuple[int, ...], bounds: tuple[int | None, ...] | None, *, is_appended: bool = False
    ) -> None:
        """Change the shape: jobs in flight must not have numbers of the old grid if the new one has others."""
        old, node, chunks = self._node.shape or (), self._node, self._node.spec.chunks or ()
        is_cut = any(n < m for n, m in zip(shape, old, strict=True))
        renumbers = is_cut or node.grid.counts[1:] != ChunkGrid(shape, chunks, bounds).counts[1:]
        if renumbers and self.out.has_part_writers and self.session.sharing.token is not None:
            raise StateError(
                f"{self.name}: {old} cannot become {shape} while other processes write it (part_writer): chunks would "
                "be cut off or get other numbers; only the leading dimension can grow until the file is closed"
            )
        # chunks that grow within the maximum shape may wait for elements meanwhile
        if bounds != node.spec.maxshape or is_cut:
            self._write_pending()
            before = set(node.incomplete)
            for region in cut_regions(old, shape, chunks):
                self._fill_stored(region)
            self._write_pending()
            # what was cut off is not what is still to be written
            for coords in node.incomplete.keys() - before:
                node.incomplete[coords] = ((0, 0),) * len(shape)
        # under the lock of the cache, so that no chunk of this dataset has to go for one of another dataset meanwhile
        with self.session.partial_chunks.lock:
            if renumbers:
                self.session.wait()
                self.out.renumber()
            self.session.resize(node, shape, bounds, is_appended=is_appended)
            self._write_for_present_shape(self._writer.chain)

    def _make_chunked(self, shape: tuple[int, ...]) -> None:
        """Store data without chunks in chunks from now on."""
        node = self._node
        check_held(self.name, node.spec.value_nbytes)
        value = node.whole() if node.has_value or node.stored is not None else None
        least = MIN_ROWS if len(shape) == 1 else 1
        chunks = auto_chunks(tuple(max(least, n) for n in shape), node.spec.element_nbytes)
        self.session.make_chunked(node, chunks)
        self._write_for_present_shape(FilterChain((), node.spec.chunk_nbytes))
        if value is not None and value.size:
            self[...] = value

    def _fill_stored(self, region: tuple[slice, ...]) -> None:
        """Write the fill value to a region, but only to chunks that are stored."""
        grid, place = self._node.grid, self.session.place
        origin = tuple(one.start for one in region)
        extents = tuple(one.stop - one.start for one in region)
        if 0 in extents:
            return
        for number in grid.numbers(grid.covering(origin, extents)):
            if self._node.table.are_written(number[np.newaxis])[0]:
                part = [
                    slice(max(one.start, box.start), min(one.stop, box.stop))
                    for one, box in zip(region, grid.region(grid.coords(int(number))), strict=True)
                ]
                fill = self._writer.filled(tuple(one.stop - one.start for one in part), place)
                self.out.write_region(fill, tuple(one.start for one in part))

    def _check_changeable(self) -> None:
        """Refuse to write elements of a stored dataset that streamh5 cannot encode as they are."""
        check_changeable(self._node)

    def _as_block(self, value: Any) -> np.ndarray[Any, Any]:
        """Return an array-like as elements of the dataset: see `ChunkWriter.as_block`."""
        spec = self._node.spec
        return as_elements(value, spec) if spec.chunks is None else self._writer.as_block(value)

    def _write_for_present_shape(self, chain: FilterChain) -> None:
        region = self._node.chunk_region
        self._writer = ChunkWriter(self._node.spec, chain, None if region is None else region.address)
        self.out.use(self._writer)

    def _write_pending(self) -> None:
        """Write the chunks that wait for elements, and wait until each chunk is entered in the chunk table."""
        self.out.write_pending(None)
        self.session.wait()
