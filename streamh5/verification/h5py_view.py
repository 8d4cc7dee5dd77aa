"""The same file as h5py sees it: its chunk maps to compare with ours, its filters where ours end.

libhdf5 is written for files that are not hostile: it is asked only when our own reader has found no damage.
"""

from __future__ import annotations

from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from streamh5.errors import FormatError, UnreadableError
from streamh5.format.data_layout import ChunkedLayout, ContiguousLayout, ExtensibleArray
from streamh5.format.primitives import UNDEFINED_ADDRESS

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from streamh5.reader.chunk_index.chunk_map import ChunkMap
    from streamh5.reader.file_content import FileContent, StoredDataset

__all__ = ["H5pyView", "h5py_version", "has_filters"]


def h5py_version() -> str:
    """Name h5py and its HDF5."""
    return f"h5py {h5py.__version__} (HDF5 {h5py.version.hdf5_version})"


def has_filters(filter_ids: Sequence[int]) -> bool:
    """Whether HDF5 has all of these filters here."""
    _register_plugins()
    return all(h5py.h5z.filter_avail(filter_id) for filter_id in filter_ids)


def _register_plugins() -> None:
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 - importing registers the filters


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
        _register_plugins()
        try:
            self._file = h5py.File(path, "r")
        except (OSError, RuntimeError) as error:
            raise UnreadableError(f"h5py {h5py.__version__} cannot open the file: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def compare(self, content: FileContent) -> list[tuple[str, int, FormatError]]:
        """Compare objects, shapes and chunk maps; return path, address and error of those that differ."""
        different: list[tuple[str, int, FormatError]] = []
        for group in content.groups:
            names = [link.name for link in group.messages.links]
            with suppress(KeyError):
                found = list(self._file[group.path])
                if sorted(found) != sorted(names) and not group.messages.common.unchecked:
                    problem = FormatError(
                        f"h5py sees the links {found[:10]}, the object header has {names[:10]}"
                    )
                    different.append((group.path, group.address, problem))
        for dataset in content.datasets:
            try:
                self._compare_dataset(dataset)
            except FormatError as error:
                different.append((dataset.path, dataset.address, error))
            except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
                problem = FormatError(f"h5py cannot open it: {error}")
                different.append((dataset.path, dataset.address, problem))
        return different

    def decode(self, path: str, origin: tuple[int, ...]) -> None:
        """Read one chunk.

        Raises
        ------
        FormatError
            HDF5 cannot decode it.
        """
        dataset = self._file[path]
        box = tuple(slice(start, start + size) for start, size in zip(origin, dataset.chunks, strict=True))
        try:
            dataset[box]
        except (OSError, RuntimeError, ValueError) as error:
            raise FormatError(f"HDF5 cannot decode it: {error}") from error

    def _compare_dataset(self, dataset: StoredDataset) -> None:
        seen = self._file[dataset.path]
        shape = dataset.messages.dataspace.shape
        if seen.shape != shape:
            raise FormatError(f"h5py sees the shape {seen.shape}, the object header has {shape}")
        layout = dataset.messages.layout
        if isinstance(layout, ContiguousLayout) and layout.address != UNDEFINED_ADDRESS and layout.nbytes:
            if seen.id.get_offset() != layout.address:
                raise FormatError(
                    f"h5py sees data at address {seen.id.get_offset()}, the layout has {layout.address:,}"
                )
        elif dataset.chunk_map is not None and hasattr(seen.id, "chunk_iter"):
            # H5D__earray_idx_iterate_cb gives wrong coordinates where the unlimited dimension is not the first.
            has_extensible_array = isinstance(layout, ChunkedLayout) and isinstance(
                layout.index, ExtensibleArray
            )
            by_origin = not has_extensible_array or seen.maxshape[0] is None
            _compare_chunks(seen, dataset.chunk_map, by_origin=by_origin)


def _compare_chunks(seen: Any, chunks: ChunkMap, *, by_origin: bool) -> None:
    rank = len(chunks.chunks)
    origins, numbers = array("Q"), array("Q")

    def collect(chunk: Any) -> None:
        origins.extend(chunk.chunk_offset)
        numbers.extend((chunk.byte_offset, chunk.size, chunk.filter_mask))

    seen.id.chunk_iter(collect)
    theirs = np.frombuffer(numbers, np.uint64).reshape(-1, 3)
    if len(theirs) != len(chunks):
        raise FormatError(f"h5py sees {len(theirs):,} chunks, the index has {len(chunks):,}")
    their_order = np.argsort(theirs[:, 0], kind="stable")
    our_order = np.argsort(chunks.addresses, kind="stable")
    # One column at a time: an index of millions of chunks is compared in the memory of a few columns.
    columns: list[tuple[str, NDArray[Any], NDArray[Any]]] = [
        ("address", theirs[:, 0], chunks.addresses),
        ("stored size", theirs[:, 1], chunks.stored_nbytes),
        ("filter mask", theirs[:, 2], chunks.filter_masks),
    ]
    if by_origin:
        their_origins = np.frombuffer(origins, np.uint64).reshape(-1, rank)
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
                f"{chunks.coords(int(row))} at {int(chunks.addresses[row]):,}"
            )
