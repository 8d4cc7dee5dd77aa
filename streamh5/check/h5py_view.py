"""A file as h5py sees it: chunk maps to compare with those of streamh5, and filters that streamh5 does not have.

libhdf5 trusts the files that it reads: `verify` asks it only if streamh5's own reader has found no damage.
"""

from __future__ import annotations

from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

import h5py
import numpy as np

from streamh5.errors import ForeignStructureError, FormatError, UnreadableError, listed, shown
from streamh5.filters.missing import missing_filters, named_filters
from streamh5.format.character_set import encode_text
from streamh5.format.data_layout import (
    ChunkedLayout,
    ContiguousLayout,
    ExtensibleArrayIndex,
    VirtualDatasetLayout,
)
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.chunk_iteration import iterate_chunks, tells_coords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from streamh5.format.filter_pipeline import FilterRecord
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.file_content import FileContent, ObjectContent
    from streamh5.reader.object_content import DatasetMessages


_MAX_VISITED = 1_000_000
"""Most empty places of a grid that the library may visit, and 1000 for each chunk: it iterates over these too."""

MAX_WORDS = 200
"""Most characters of a message of the library within a message of streamh5."""

# What h5py raises for objects that it cannot open.
_H5PY_ERRORS = (KeyError, OSError, RuntimeError, TypeError, ValueError)


def h5py_version() -> str:
    """Return the versions of h5py and of its HDF5."""
    return f"h5py {h5py.__version__} (HDF5 {h5py.version.hdf5_version})"


def why_not_decoded(filters: Sequence[FilterRecord], unknown: Sequence[int], view: H5pyView | None) -> str:
    """Return why nothing decodes chunks; empty if h5py does.

    Parameters
    ----------
    filters, unknown
        Their filters, and the numbers of those that streamh5 does not have.
    view
        None if h5py is not asked.
    """
    if view is None:
        foreign = [one for one in filters if one.filter_id in unknown]
        return f"streamh5 does not have {named_filters(foreign)}, and h5py was not asked"
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 - importing registers the filters
    from streamh5.write.library_decoder import missing_here  # now: without data, nothing of it is needed

    return missing_filters(missing_here(filters))


def _words(error: BaseException) -> str:
    """Return a message of the library on one line, cut to `MAX_WORDS`."""
    return shown(" ".join(str(error).split()), MAX_WORDS, quoted=False)


class H5pyView:
    """A file that is open in h5py.

    Parameters
    ----------
    source
        Path of the file, or a file object.

    Raises
    ------
    UnreadableError
        h5py cannot open the file.
    """

    def __init__(self, source: str | IO[bytes]) -> None:
        try:
            self._file = h5py.File(source, "r")
        except (OSError, RuntimeError) as error:
            raise UnreadableError(f"h5py {h5py.__version__} cannot open the file: {_words(error)}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self, path: str) -> Any:
        """Open an object, whose path may contain bytes that are not UTF-8."""
        return self._file[encode_text(path)]

    def compare(self, content: FileContent) -> list[tuple[str, int, FormatError]]:
        """Compare links, shapes and chunk maps; return path, address and error of each object that differs.

        The error of an object that h5py cannot open, although it is intact for streamh5, is a `ForeignStructureError`:
        it cannot be compared.
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
        """Read chunks of a dataset through HDF5, one after the other: a lock of h5py allows no threads.

        Parameters
        ----------
        path, chunks
            The dataset, and its chunks to read.
        progress
            Function that is called with the stored size of each chunk in bytes.

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
            box = tuple(
                slice(start, start + size) for start, size in zip(origin, dataset.chunks, strict=True)
            )
            try:
                dataset[box]
            except (OSError, RuntimeError, ValueError) as error:
                yield row, f"HDF5 cannot decode it: {_words(error)}"
            progress(nbytes)

    def _compare_dataset(self, dataset: ObjectContent[DatasetMessages], base_address: int) -> None:
        seen = self._open(dataset.path)
        shape = dataset.messages.dataspace.shape
        layout = dataset.messages.layout
        if isinstance(layout, VirtualDatasetLayout):  # its shape may depend on the shapes of its sources
            return
        if seen.shape != shape:
            raise FormatError(
                f"h5py sees the shape {shown(seen.shape)}, the object header has {shown(shape)}"
            )
        if isinstance(layout, ContiguousLayout) and layout.address != UNDEFINED_ADDRESS and layout.nbytes:
            if seen.id.get_offset() != layout.address + base_address:
                raise FormatError(
                    f"h5py sees data at position {seen.id.get_offset()}, the layout has {layout.address:,} after a "
                    f"user block of {base_address:,} bytes"
                )
        elif isinstance(layout, ChunkedLayout) and dataset.chunks is not None:
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
    """Compare the chunks inside the current shape; versions of HDF5 differ in whether they list others as well.

    Both sides are sorted by address, since the orders of an index and of the library differ. `by_origin` and `by_mask`
    are False where the library is known to report these wrongly (`tells_coords`), or as the layout implies them.
    """
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
    # One column after the other: millions of chunks are compared in the memory of a few columns.
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
