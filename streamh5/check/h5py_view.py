"""The same file as h5py sees it: its chunk maps to compare with ours, its filters where ours end.

libhdf5 is written for files that are not hostile: it is asked only when our own reader has found no damage.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from streamh5.errors import ForeignStructureError, FormatError, UnreadableError, listed, shown
from streamh5.format.data_layout import ChunkedLayout, ContiguousLayout, ExtensibleArrayIndex, VirtualLayout
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.chunk_iteration import iterate_chunks, tells_coords

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.file_content import FileContent, ObjectContent
    from streamh5.reader.object_content import DatasetMessages


_MAX_VISITED = 1_000_000

MAX_WORDS = 200
"""Characters of the library's own message within one of ours."""

_H5PY_ERRORS = (KeyError, OSError, RuntimeError, TypeError, ValueError)


def h5py_version() -> str:
    """Name h5py and its HDF5."""
    return f"h5py {h5py.__version__} (HDF5 {h5py.version.hdf5_version})"


def has_filters(filter_ids: Sequence[int]) -> bool:
    """Whether HDF5 has all of these filters here."""
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 - importing registers the filters
    return all(h5py.h5z.filter_avail(filter_id) for filter_id in filter_ids)


def _words(error: BaseException) -> str:
    """Return what the library says, on one line and as long as a message can show."""
    return shown(" ".join(str(error).split()), MAX_WORDS, quoted=False)


class H5pyView:
    """A file that is open in h5py.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    UnreadableError
        h5py cannot open it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self._file = h5py.File(path, "r")
        except (OSError, RuntimeError) as error:
            raise UnreadableError(f"h5py {h5py.__version__} cannot open the file: {_words(error)}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self, path: str) -> Any:
        """Open an object; names may have bytes that are not UTF-8."""
        return self._file[path.encode(errors="surrogateescape")]

    def compare(self, content: FileContent) -> list[tuple[str, int, FormatError]]:
        """Compare objects, shapes and chunk maps; return path, address and error of those that differ.

        What h5py cannot open, although our reader finds nothing wrong, is a `ForeignStructureError`: it is not
        compared.
        """
        different: list[tuple[str, int, FormatError]] = []
        for group in content.groups:
            names = [link.name for link in group.messages.links]
            with suppress(*_H5PY_ERRORS):
                found = list(self._open(group.path))
                if sorted(found) != sorted(names) and not group.messages.common.unchecked:
                    problem = FormatError(
                        f"h5py sees the links {listed(found)}, the object header has {listed(names)}"
                    )
                    different.append((group.path, group.address, problem))
        for dataset in content.datasets:
            try:
                self._compare_dataset(dataset, content.superblock.base_address)
            except FormatError as error:
                different.append((dataset.path, dataset.address, error))
            except _H5PY_ERRORS as error:
                problem = ForeignStructureError(f"h5py cannot open it: {_words(error)}")
                different.append((dataset.path, dataset.address, problem))
        return different

    def decode_each(
        self, path: str, chunks: ChunkMap, progress: Callable[[int], object]
    ) -> Iterator[tuple[int, str]]:
        """Read chunks of a dataset one after another, as HDF5 itself does; `progress` as in `check_chunks`.

        Yields
        ------
        tuple of int, str
            Row of a chunk that HDF5 cannot decode, and why.

        Raises
        ------
        ForeignStructureError
            h5py cannot open the dataset; no chunk has been read.
        """
        try:
            dataset = self._open(path)
        except _H5PY_ERRORS as error:
            raise ForeignStructureError(f"h5py cannot open it: {_words(error)}") from error
        for row, nbytes in enumerate(chunks.stored_nbytes.tolist()):
            origin = chunks.origin_at(row)
            try:
                dataset[tuple(map(slice, origin, np.add(origin, dataset.chunks)))]
            except (OSError, RuntimeError, ValueError) as error:
                yield row, f"HDF5 cannot decode it: {_words(error)}"
            progress(nbytes)

    def _compare_dataset(self, dataset: ObjectContent[DatasetMessages], base_address: int) -> None:
        seen = self._open(dataset.path)
        shape = dataset.messages.dataspace.shape
        layout = dataset.messages.layout
        if isinstance(layout, VirtualLayout):  # whose shape may follow that of its sources
            return
        if seen.shape != shape:
            raise FormatError(
                f"h5py sees the shape {shown(seen.shape)}, the object header has {shown(shape)}"
            )
        if isinstance(layout, ContiguousLayout) and layout.address != UNDEFINED_ADDRESS and layout.nbytes:
            if seen.id.get_offset() != layout.address + base_address:
                raise FormatError(
                    f"h5py sees data at position {seen.id.get_offset()}, the layout has {layout.address:,} behind a "
                    f"user block of {base_address:,} bytes"
                )
        elif isinstance(layout, ChunkedLayout) and dataset.chunks is not None:
            # The library visits chunks that were never written as well.
            is_quick = dataset.chunks.frame.n_max_chunks <= _MAX_VISITED + 1000 * len(
                dataset.chunks.chunk_map
            )
            if is_quick and hasattr(seen.id, "chunk_iter"):
                by_origin = not isinstance(layout.index, ExtensibleArrayIndex) or tells_coords(seen.maxshape)
                _compare_chunks(
                    seen,
                    dataset.chunks.chunk_map,
                    base_address,
                    by_origin=by_origin,
                    by_mask=layout.filter_partial_edge_chunks,
                )


def _compare_chunks(
    seen: Any, chunks: ChunkMap, base_address: int, *, by_origin: bool, by_mask: bool
) -> None:
    """Compare the chunks inside the current shape: libraries differ in whether they iterate over others."""
    rank = len(chunks.grid.chunks)
    their_origins, theirs = iterate_chunks(seen.id)
    is_all = len(their_origins) == len(chunks)
    ours = np.arange(len(chunks)) if is_all else np.flatnonzero(chunks.is_present())
    if len(their_origins) != len(ours) and by_origin:
        inside = np.flatnonzero((their_origins < np.array(seen.shape, np.uint64)).all(axis=1))
        theirs, their_origins = theirs.take(inside), their_origins[inside]
    if len(their_origins) != len(ours):
        raise FormatError(f"h5py sees {len(their_origins):,} chunks, the index has {len(ours):,}")
    their_order = np.argsort(theirs.addresses, kind="stable")
    our_order = ours[np.argsort(chunks.addresses[ours], kind="stable")]
    # One column at a time: an index of millions of chunks is compared in the memory of a few columns.
    columns: list[tuple[str, Any, NDArray[Any]]] = [
        ("address", theirs.addresses, chunks.addresses + np.uint64(base_address)),
        ("stored size", theirs.stored_nbytes, chunks.stored_nbytes),
    ]
    if by_mask:
        columns.append(("filter mask", theirs.filter_masks, chunks.filter_masks))
    if by_origin:
        our_origins = chunks.origins()
        columns += [
            (f"origin along dimension {axis}", their_origins[:, axis], our_origins[:, axis])
            for axis in range(rank)
        ]
    for name, their_column, our_column in columns:
        differs = their_column[their_order] != our_column[our_order].astype(np.uint64)
        if differs.any():
            row = our_order[int(np.argmax(differs))]
            raise FormatError(
                f"h5py sees another {name} of {int(differs.sum()):,} chunks, the first by address is "
                f"{chunks.coords_at(int(row))} at {int(chunks.addresses[row]):,}"
            )
