"""The part of ``Dataset`` that appends rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import BlockError, ResumeError, counted
from streamh5.handles.resizable_dataset import ResizableDataset, writing

if TYPE_CHECKING:
    from streamh5.filters import FilterChain
    from streamh5.handles.session import Session
    from streamh5.model.tree import DatasetNode


class AppendableDataset(ResizableDataset):
    """A dataset whose rows may arrive in their order."""

    def __init__(
        self,
        session: Session,
        node: DatasetNode,
        chain: FilterChain,
        *,
        n_rows: int,
        is_restored: bool,
        write_empty_chunks: bool,
    ) -> None:
        super().__init__(session, node, chain, write_empty_chunks=write_empty_chunks)
        self._is_appended = False
        self._n_appended = n_rows
        self._must_ask = is_restored and n_rows > 0

    @abstractmethod
    def _chunked_shape(self, verb: str) -> tuple[int | None, ...]:
        """Return the shape, of at least one dimension."""

    @property
    def n_appended(self) -> int:
        """Number of rows appended; after a resume, the rows that are stored: continue with the next."""
        self._must_ask = False
        return self._n_appended

    @writing
    def append(self, rows: Any) -> None:
        """Append along the leading dimension.

        Rows go after the last one that was appended, or after all rows if the whole dataset was set first, by ``data=``
        or ``x[...]``, or was in the file that is changed.

        Rows that do not fill their chunks, fewer than ``chunks[0]``, are kept in memory and written when the chunks
        are full or the file is closed.

        After a resume a program that begins with its first row again would store rows twice. Therefore it must have
        asked where to continue: `n_appended`, `is_stored`, or the length of a dataset that grows.

        Parameters
        ----------
        rows
            One row, of shape ``shape[1:]``, or several, of shape ``(n, *shape[1:])``.

        Raises
        ------
        BlockError
            Another shape, a dtype that cannot be stored without loss, or rows past the end of a
            dataset of fixed length. Nothing of the block is written then.
        ResumeError
            A resume has restored rows, and the program has not asked where to continue. Nothing is written then.
        StateError
            The file is closed.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (None, 512, 512), "u2", compression="gzip")
        ...     x.append(np.zeros((512, 512), int))
        ...     x.append(np.zeros((8, 512, 512), int))
        >>> x.shape
        (9, 512, 512)
        """
        self.session.appends.shared(self._turns.alone, self._append_block, rows)

    def _append_block(self, rows: Any) -> None:
        shape = self._chunked_shape("append to")
        if self._must_ask:
            raise ResumeError(
                f"{self.name}: the interrupted write has {counted(self._n_appended, 'row')}, and append goes after "
                "them; read n_appended and go on there",
                n_rows=self._n_appended,
            )
        block = self._as_block(rows)
        if block.ndim == len(shape) - 1:
            block = block[np.newaxis]
        if block.ndim != len(shape) or block.shape[1:] != shape[1:]:
            raise BlockError(
                f"{self.name}: cannot append a block of shape {np.shape(rows)}; "
                f"give one row {shape[1:]} or several (n, {', '.join(map(str, shape[1:]))})",
                block_shape=np.shape(rows),
                shape=shape,
            )
        with self._lock:
            start, stop = self._n_appended, self._n_appended + len(block)
            if self.chunks is not None:
                self.out.check_length(stop)
            if shape[0] is not None and stop > shape[0]:
                if self._node.spec.maxshape is not None and self.chunks is not None:
                    elements = self._writer.elements(block, self.session.place)  # first, as this may fail
                    self._resize_to((stop, *block.shape[1:]), self._node.spec.maxshape, is_appended=True)
                    self._append(elements, start, stop)
                    return
                raise BlockError(
                    f"{self.name}: {counted(len(block), 'row')} appended at row {start} pass the end of the "
                    f"dataset {shape}; let it grow: resize(d.shape, maxshape=(None, ...)), or create it with "
                    "shape=(None, ...)",
                    start=start,
                    n_rows=len(block),
                    shape=shape,
                )
            if self.chunks is None:  # contiguous data
                self.session.set_value(self._node, slice(start, stop), block)
                self._n_appended = stop
                return
            self._append(self._writer.elements(block, self.session.place), start, stop)

    def _append_after_all(self) -> None:
        """Append after the last row, as every row was set, by ``data=`` or a region of the whole dataset."""
        n_rows = (self._node.spec.shape or (None,))[0]
        if n_rows is not None and not self._is_appended:
            self._must_ask &= self._n_appended > n_rows  # else every restored row was set again
            self._n_appended = max(self._n_appended, n_rows)

    def _check_only_appended(self) -> None:
        """Refuse to append where regions were written: append and regions cannot both set the length of the dataset."""
        if (self._node.spec.shape or (0,))[0] is None and self._node.n_rows > self._n_appended:
            raise BlockError(
                f"{self.name}: regions were written up to row {self._node.n_rows}, so nothing can be "
                "appended; use either append or regions for a dataset of unknown length",
                n_rows=self._node.n_rows,
            )

    def _append(self, elements: np.ndarray[Any, Any], start: int, stop: int) -> None:
        """Store rows; they count once they are stored, or wait for the rest of their chunks."""
        if not self._is_appended:
            self._check_only_appended()
            self.session.log_rows(self._node, 0)
            self._is_appended = True
            self.out.appended_from = start
        self.out.write_region(elements, (start,) + (0,) * (self.ndim - 1), is_appended=True)
        n_chunk_rows = self._writer.grid.chunks[0]
        if start // n_chunk_rows < stop // n_chunk_rows:
            self.out.write_rows_below(stop // n_chunk_rows)
        self._n_appended = stop

    def _append_after(self, n_rows: int) -> None:
        self._must_ask = False
        self._n_appended = n_rows
