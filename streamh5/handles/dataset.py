"""The handle of a dataset that is being written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import BlockError, counted
from streamh5.filters import FilterChain
from streamh5.handles.dataset_parts import DatasetParts
from streamh5.handles.given_data import direct_chunk, parse_region
from streamh5.handles.resizable_dataset import writing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from streamh5.filters import Buffer
    from streamh5.handles.session import Session
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.tree import DatasetNode
    from streamh5.write.chunk_writer import EncodedChunks
    from streamh5.write.place import Place


class Dataset(DatasetParts):
    """A dataset that is being written; made by `Group.create_dataset`.

    Thread-safe. The threads of the file split, filter and write blocks. A call copies its block, so
    the caller may reuse the memory when it returns. A chunk may be written more than once: the last
    call counts, and the summary tells how many chunks were rewritten.

    Examples
    --------
    >>> with streamh5.File("x.h5", "w") as f:
    ...     x = f.create_dataset("x", (None, 10), "i4", chunks=(4, 10), compression="gzip")
    ...     x.append(np.zeros((6, 10), int))
    ...     x[0] = 7
    ...     x.attrs["unit"] = "mm"
    ...     x.shape, x.maxshape, x.ndim, x.size, x.nbytes, len(x), x.len(), x.n_appended
    ...     x.name, x.ref, x.parent == f, x.file is f, x.regionref[:3], len(x.dims)
    ((6, 10), (6, 10), 2, 60, 240, 6, 6, 6)
    ('/x', Reference(path='/x'), True, True, RegionReference(path='/x', region=[...]), 2)
    >>> x.dtype, x.chunks, int(x.fillvalue), x.external, x.is_virtual, x.is_scale
    (dtype('int32'), (4, 10), 0, None, False, False)
    >>> x.compression, x.compression_opts, x.compression_keywords
    ('gzip', 4, {'compression': 'gzip', 'compression_opts': 4})
    >>> x.shuffle, x.fletcher32, x.scaleoffset, x.filter_ids, x.filter_names
    (False, False, None, (1,), ('deflate',))
    """

    def __init__(
        self,
        session: Session,
        node: DatasetNode,
        chain: FilterChain,
        *,
        n_rows: int = 0,
        is_restored: bool = False,
        write_empty_chunks: bool = True,
    ) -> None:
        super().__init__(
            session,
            node,
            chain,
            n_rows=n_rows,
            is_restored=is_restored,
            write_empty_chunks=write_empty_chunks,
        )
        session.before_close(node, self._flush)

    @property
    def place(self) -> Place:
        """Where its chunks and the objects of its elements are stored."""
        return self.session.place

    @writing
    def __setitem__(self, region: Any, value: Any) -> None:
        """Write a region: ``d[3:17, 5] = block``, ``d[i] = row``.

        Chunks that the region does not fill wait in memory until they are complete, so that a loop over rows writes
        each chunk once. If `max_memory` forces one to be written earlier, or the file is closed, its other elements
        are those stored before, or the fill value.

        Parameters
        ----------
        region
            Ints, slices and ``...`` as for h5py, without steps.
        value
            Array-like that broadcasts to the region.

        Raises
        ------
        BlockError
            The region is not inside the dataset, or the value does not fit it.
        StateError
            The file is closed.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (100, 100), chunks=(10, 10))
        ...     x[3:17, 5] = np.arange(14)
        ...     x[..., -1] = 1
        """
        self._turns.shared(self._write_region, region, value)

    def _write_region(self, region: Any, value: Any) -> None:
        if self._node.spec.chunks is None:
            self._set_value(region, value)
        else:
            self._set_region(region, value)
        if region is Ellipsis or (isinstance(region, tuple | slice) and region in ((), slice(None))):
            self._append_after_all()

    def _set_region(self, region: Any, value: Any) -> None:
        extents = self._chunked_shape("write a region of")
        origin, shape, kept = parse_region(region, extents, path=self.name)
        self.out.check_length(origin[0] + shape[0])
        block = self._writer.as_block(value)
        while block.ndim > len(kept) and len(block) == 1:  # as in numpy and h5py
            block = block[0]
        try:
            whole = np.broadcast_to(block, kept).reshape(shape)
        except ValueError:
            raise BlockError(
                f"{self.name}: a block of shape {block.shape} does not fit the region of shape {kept}",
                block_shape=block.shape,
                region_shape=kept,
            ) from None
        if self._is_appended and extents[0] is None and origin[0] + shape[0] > self._n_appended:
            raise BlockError(
                f"{self.name}: it is appended to and has {counted(self._n_appended, 'row')}; a region up to row "
                f"{origin[0] + shape[0]} lies after them: use either append or regions for new rows",
                n_rows=self._n_appended,
            )
        self.out.write_region(self._writer.elements(whole, self.session.place), origin)

    @writing
    def write_direct_chunk(self, offsets: Sequence[int], data: Buffer, filter_mask: int = 0) -> None:
        """Write one chunk that is already filtered, as h5py's method of the same name does.

        Parameters
        ----------
        offsets
            First element of the chunk, multiples of the chunk shape.
        data
            The filtered bytes of a whole chunk, which are stored unchanged: at the edge of the dataset, pad the chunk
            before you encode it. All filters of the dataset are yours to apply, shuffle as well. What a filter that
            streamh5 does not have has encoded, a chunk that is too short for example, is not checked.
        filter_mask
            Bit i set: filter i of the pipeline was skipped.

        Raises
        ------
        BlockError
            The offsets are not those of a chunk, the size is impossible (an unfiltered chunk has
            exactly the size of the chunk), or the mask names filters that the dataset does not have.
        StateError
            The file is closed.

        Examples
        --------
        >>> import zlib
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (2, 1000), "u1", chunks=(1, 1000), compression="gzip")
        ...     x.write_direct_chunk((1, 0), zlib.compress(bytes(1000)))
        """
        self._chunked_shape("write a chunk of")
        self._check_has_chunks()
        self._turns.shared(self._write_direct, offsets, data, filter_mask)

    def _write_direct(self, offsets: Sequence[int], data: Buffer, filter_mask: int) -> None:
        box, encoded = direct_chunk(self._writer, offsets, data, filter_mask)
        start, stop = (coord * self._writer.grid.chunks[0] for coord in box[0])
        self.out.check_length(start + 1)
        self.out.replace_chunk(encoded, box)
        if (self._node.spec.shape or ())[0] is None:
            bound = (self._node.spec.maxshape or (None,))[0]
            self.session.extend(self._node, min(stop, bound or 2**64))

    @writing
    def write_block(self, block: Any, origin: tuple[int, ...]) -> ChunkRecords:
        """Encode and write a block in the calling thread; return its records, to be passed to `record`.

        For sources that have their own threads. Other calls notice nothing but the growth of the file. The records
        have to be entered before `resize` cuts chunks off or gives them other numbers.

        Parameters
        ----------
        block
            Array-like. Chunks that it does not fill are read, if they are stored, and get its elements; the caller
            sees to it that nobody writes them meanwhile, and that the records of earlier blocks are entered.
        origin
            Index of its first element in the dataset.

        Returns
        -------
        ndarray
            ``(n,)``, one record for each chunk: number, address, stored size in bytes, filter mask.

        Raises
        ------
        BlockError
            The block exceeds the dataset, or has values that the dtype cannot hold.

        Examples
        --------
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> with streamh5.File("x.h5", "w") as f, ThreadPoolExecutor() as threads:
        ...     x = f.create_dataset("x", (100, 10), chunks=(10, 10), compression="gzip")
        ...     for records in threads.map(lambda i: x.write_block(np.full((10, 10), i), (10 * i, 0)), range(10)):
        ...         x.record(records)
        """
        self._check_changeable()
        self._check_has_chunks()
        return self._turns.shared(self._write_block, block, origin)

    def _write_block(self, block: Any, origin: tuple[int, ...]) -> ChunkRecords:
        values = self._writer.as_block(block)
        self._writer.check_inside(values, origin)
        return self.out.write_block(self._writer.elements(values, self.session.place), origin)

    @writing
    def write_encoded(self, encoded: EncodedChunks) -> ChunkRecords:
        """Write filtered chunks, unchecked, in the calling thread; return their records: see `write_block`."""
        self._check_has_chunks()
        return self._turns.shared(self.out.write_encoded, encoded)

    def is_stored(self, origin: tuple[int, ...], shape: tuple[int, ...]) -> bool:
        """Return whether every chunk of a block is stored: after a resume, such a block need not be written again.

        A chunk that was interrupted before all of its elements were written does not count, nor does one of the file
        to which this write adds.

        Parameters
        ----------
        origin, shape
            First element and shape of the block, as for `write_block`.

        Raises
        ------
        BlockError
            The block exceeds the dataset.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w", resume=True) as f:
        ...     x = f.create_dataset("x", (100, 10), chunks=(10, 10))
        ...     for start in range(0, 100, 10):
        ...         if not x.is_stored((start, 0), (10, 10)):
        ...             x[start : start + 10] = start
        """
        self._must_ask = False
        return self._node.spec.chunks is not None and self.out.is_stored(origin, shape)

    def are_stored(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which of the chunks with these numbers are stored."""
        return self.out.are_stored(numbers)

    def record(self, records: ChunkRecords) -> None:
        """Enter the records that `write_block` returned in the chunk table.

        Parameters
        ----------
        records
            ``(n,)`` records of `write_block`.

        Raises
        ------
        StateError
            The dataset was resized meanwhile, and its chunks have other numbers now: write the block again.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (100, 10), chunks=(10, 10))
        ...     x.record(x.write_block(np.ones((10, 10)), (0, 0)))
        """
        self._turns.shared(self.out.record_block, records)

    def _chunked_shape(self, verb: str) -> tuple[int | None, ...]:
        self._check_changeable()
        shape = self._node.spec.shape
        if not shape:
            raise BlockError(
                f"cannot {verb} {self.name}: it has no dimensions; set its value with dataset[()] = ..."
            )
        return shape

    def _check_has_chunks(self) -> None:
        if self.chunks is None:
            raise BlockError(
                f"{self.name} is stored without chunks; create it with chunks=True or a chunk shape"
            )

    def _flush(self, *, is_interrupted: bool) -> None:
        """Write the chunks that wait for elements; the fill value stands for those that did not come."""
        if self.chunks is None:
            return
        n_rows = None
        if self._is_appended and self._n_appended % self._writer.grid.chunks[0]:
            n_rows = self._n_appended
            self.session.log_rows(self._node, n_rows)
        self.out.write_pending(n_rows)
        if not is_interrupted:
            self.out.finish()

    def _set_value(self, region: Any, value: Any) -> None:
        """Set data without chunks, or a region of it; it stays in memory until the file is closed."""
        self._check_changeable()
        if self._node.shape is None:
            raise BlockError(f"{self.name} has a null dataspace: it holds no value")
        block = self._as_block(value)
        with self._lock:
            self.session.set_value(self._node, region, block)

    def _repr_html_(self) -> str:
        from streamh5.handles.html_repr import handle_html  # now: only notebooks need it

        return handle_html("Dataset", self.name, self._node, self.session, n_rows=self.n_appended)

    def __repr__(self) -> str:
        return f"<streamh5.Dataset {self.name!r}: shape {self.shape}, {self.dtype}, chunks {self.chunks}>"
