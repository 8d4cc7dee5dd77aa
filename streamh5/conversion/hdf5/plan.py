"""Plan the conversion of an HDF5 or netCDF-4 file, read with h5py.

Every object is carried over: groups, datasets, links of each kind, attributes, references, with their datatypes
byte for byte. Where neither chunks nor filters change, stored chunks are copied without the HDF5 library. An object
that cannot be carried over is an error that names it, or a note.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.conversion.array_plan import ArrayPlan, SourceArray, file_identity, plan_array, plan_whole
from streamh5.conversion.hdf5.chunks import (
    ChunkList,
    decoded_regions,
    find_chunks,
    needed_chunks,
    source_filters,
    stored_as,
    virtual_parts,
)
from streamh5.conversion.hdf5.contents import read_contents
from streamh5.conversion.hdf5.dataset import RegionReader, read_dataset
from streamh5.conversion.hdf5.datatype import stored_type
from streamh5.conversion.hdf5.elements import Referents, read_attributes, tracks_attributes
from streamh5.conversion.hdf5.partly_read import PartlyReadChunks
from streamh5.conversion.hdf5.problems import Problems, reading
from streamh5.conversion.hdf5.source_bytes import SourceBytes
from streamh5.conversion.plan import ConversionPlan
from streamh5.dask.shared_dataset import ONE_FILE_DRIVERS, SharedDataset, nested_files
from streamh5.errors import ChunkShapeError, FilterError, FormatError, SourceError, StreamH5Error, listed
from streamh5.format.character_set import encode_text
from streamh5.format.fill_value import AllocationTime
from streamh5.handles.dataset_plan import MAX_WHOLE_NBYTES
from streamh5.handles.file_plan import FilePlan, PlannedDataset
from streamh5.model.tree import DatatypeNode, GroupNode

if TYPE_CHECKING:
    from collections.abc import Callable

    import h5py
    from numpy.typing import NDArray

    from streamh5.conversion.hdf5.contents import Contents
    from streamh5.conversion.hdf5.dataset import SourceDataset
    from streamh5.conversion.request import Request
    from streamh5.handles.file_plan import PlannedObject
    from streamh5.model.attribute_spec import AttributeSpec


class Planner:
    """Makes a `ConversionPlan` from the contents of a file.

    Parameters
    ----------
    file, stored
        The source, and its bytes where it is one file on disk.
    contents
        Its contents.
    request
        How arrays are to be stored.
    problems
        Collects what cannot be carried over.
    """

    def __init__(
        self,
        file: h5py.File,
        stored: SourceBytes | None,
        contents: Contents,
        request: Request,
        problems: Problems,
    ) -> None:
        self._file, self._stored, self._contents = file, stored, contents
        self._request, self._problems = request, problems
        self._arrays: list[ArrayPlan] = []
        self._kept = PartlyReadChunks()
        self._notes: list[str] = []
        self._files: dict[str, None] = {}
        self._n_comments = 0
        self._referents = Referents(contents.paths, stored)

    def plan(self) -> ConversionPlan:
        """Plan the file.

        Raises
        ------
        SourceError
            Something cannot be carried over, and leaving it out was not requested.
        ChunkShapeError, FilterError
            What was requested does not fit an array.
        """
        from h5py import h5d

        opened = self._contents.opened
        datasets = {path: one for path, one in opened.items() if isinstance(one, h5d.DatasetID)}
        datatypes = {path: one for path, one in opened.items() if path not in datasets}
        addresses = {path: address for address, path in self._contents.paths.items()}
        # named datatypes first: a dataset whose named datatype is left out gets an unnamed copy
        self._plan_each(datatypes, addresses, self._plan_datatype)
        self._request.check_arrays(self._shapes(datasets))
        self._plan_each(datasets, addresses, self._plan_dataset)
        attributes = {path: self._read_attributes(path) for path in self._contents.paths.values()}
        self._problems.check()
        objects = {path: one for path, one in self._contents.objects.items() if one is not None}
        is_netcdf = any(one.name == "_NCProperties" for one in attributes.get("/", ()))
        root = objects["/"]
        return ConversionPlan(
            FilePlan(objects, attributes, guard=self._problems.leaving_out),
            self._arrays,
            track_order=isinstance(root, GroupNode) and root.track_order,
            format="netCDF-4" if is_netcdf else "HDF5",
            notes=self._all_notes,
            user_block=self._user_block(),
            files=tuple(self._files),
        )

    def _plan_each(
        self,
        opened: dict[str, Any],
        addresses: dict[str, int],
        plan: Callable[[str, Any, int], PlannedObject],
    ) -> None:
        """Plan some objects; those that cannot be carried over are left out."""
        for path, one in opened.items():
            try:
                with reading(path, path):
                    self._contents.objects[path] = plan(path, one, addresses[path])
            except (FilterError, ChunkShapeError):  # wrong options, not a problem of the source
                raise
            except StreamH5Error as error:
                self._problems.add_object(path, error)
                self._contents.drop(path, addresses[path])

    def _all_notes(self) -> list[str]:
        """Return the notes on what was carried over, and what was not."""
        notes = [str(problem) for problem in self._problems.found] + self._notes
        if self._n_comments:
            notes.append(f"{self._n_comments} objects have comments (H5Oset_comment), which are left out")
        if self._referents.nameless_types:
            notes.append(
                f"{len(self._referents.nameless_types)} named datatypes have no link; datasets and attributes of "
                "them have an unnamed copy each"
            )
        if self._referents.n_dangling:
            notes.append(f"{self._referents.n_dangling} references to missing objects are null")
        return notes

    def _user_block(self) -> bytes:
        if not self._file.userblock_size:
            return b""
        with open(self._file.filename, "rb") as file:
            return file.read(self._file.userblock_size)

    def _shapes(self, datasets: dict[str, Any]) -> dict[str, tuple[int, ...] | None]:
        import h5py

        shapes = {}
        for path, dataset in datasets.items():
            # planning the dataset reports why it cannot be read
            with suppress(SourceError), reading(path, path):
                shapes[path] = h5py.Dataset(dataset).shape
        return shapes

    def _read_attributes(self, path: str) -> list[AttributeSpec]:
        from h5py import h5o

        name = encode_text(path)
        try:
            with reading(path, path):
                opened = self._contents.opened
                obj = opened[path] if path in opened else h5o.open(self._file.id, name)
        except SourceError as problem:
            self._problems.add(problem)
            return []
        with suppress(SourceError), reading(path, path):
            self._n_comments += bool(self._file.id.get_comment(name))
        return read_attributes(obj, path, self._referents, self._problems.add)

    def _plan_datatype(self, path: str, datatype: Any, _address: int) -> DatatypeNode:
        kind = stored_type(datatype)
        opaque = np.dtype((np.void, kind.nbytes))
        order = tracks_attributes(datatype.get_create_plist())
        return DatatypeNode(path, opaque, kind.datatype, order)

    def _plan_dataset(self, path: str, opened: Any, address: int) -> PlannedDataset:
        """Plan a dataset: as one value if it is small, empty or holds references, otherwise block by block."""
        dataset = read_dataset(opened, path, address, self._stored)
        if dataset.layout in ("virtual", "external"):
            self._files |= dict.fromkeys(nested_files(opened, self._file.filename, set()))
        reader = RegionReader(dataset, SharedDataset(opened, self._file, encode_text(path)))
        source = SourceArray(
            path,
            dataset.shape,
            dataset.dtype,
            reader.regions(skips=self._problems.skips),
            raw_fillvalue=dataset.fill_value,
            datatype=dataset.kind.datatype,
            type_path=self._referents.type_path(dataset.kind.address),
            track_order=dataset.track_order,
        )
        if dataset.shape is None:
            return plan_whole(source, self._request.libver)
        is_asked = dataset.shape and self._request.chunks_of(path, dataset.shape) is not None
        is_small = dataset.chunks is None and not is_asked and dataset.nbytes <= MAX_WHOLE_NBYTES
        is_small = is_small and dataset.layout != "virtual" and dataset.maxshape == dataset.shape
        is_small = is_small or not dataset.shape
        if dataset.kind.has_references or is_small or (not dataset.is_allocated and not is_asked):
            return self._plan_value(source, dataset, reader)
        planned = self._plan_array(source, dataset, reader)
        self._arrays.append(planned)
        return planned.dataset

    def _plan_value(
        self, source: SourceArray, dataset: SourceDataset, reader: RegionReader
    ) -> PlannedDataset:
        """Plan a dataset that is written as one value; as none, where it has no storage."""
        if dataset.chunks is not None:
            self._notes.append(f"{dataset.path} contains references: it is stored without chunks")
        begin = partial(reader.write_value, self._referents) if dataset.is_allocated else None
        source = replace(source, begin=begin, times=dataset.times)
        planned = plan_whole(source, self._request.libver)
        is_compact = planned.spec.is_compact
        if is_compact == (dataset.layout == "compact") and dataset.chunks is None:
            return planned
        # another layout than it had, so the library's time for that
        time = AllocationTime.EARLY if is_compact else AllocationTime.LATE
        return replace(planned, spec=replace(planned.spec, allocation_time=time))

    def _plan_array(self, source: SourceArray, dataset: SourceDataset, reader: RegionReader) -> ArrayPlan:
        """Plan a dataset that is written block by block."""
        shape = dataset.shape or ()
        chunks = find_chunks(dataset, self._stored)
        boxes = self._boxes(dataset, chunks)
        filters = source_filters(dataset)
        source = replace(
            source,
            regions=decoded_regions(dataset, chunks, self._stored, source.regions, self._kept),
            identity=file_identity(self._file.filename, dataset.path),
            chunks=dataset.chunks,
            is_contiguous=dataset.layout in ("contiguous", "compact", "external"),
            maxshape=None if dataset.maxshape == shape else dataset.maxshape,
            filters=filters,
            times=(dataset.times[0] if dataset.chunks else None, dataset.times[1]),
            needed=None if boxes is None else lambda unit: needed_chunks(boxes, shape, unit),
            heap_nbytes=reader.mean_heap_nbytes(),
        )
        find_stored = partial(stored_as, dataset, filters, chunks, self._stored, self._request)
        return plan_array(source, self._request, find_stored, self._notes)

    def _boxes(self, dataset: SourceDataset, chunks: ChunkList | None) -> NDArray[np.intp] | None:
        """Return the boxes of a dataset that contain data, ``(n, 2, rank)``; None for the whole dataset."""
        shape = dataset.shape or ()
        if chunks is not None and chunks.is_certain:
            starts = chunks.map.origins()
            stops = np.minimum(starts + np.array(dataset.chunks), np.array(shape))
            return np.stack([starts, stops], axis=1)
        if dataset.layout != "virtual":
            return np.zeros((0, 2, len(shape)), np.intp) if not dataset.is_allocated else None
        boxes, missing = virtual_parts(dataset.id, self._file)
        if missing:
            self._notes.append(
                f"{dataset.path}: {len(missing)} sources of the virtual dataset are missing ({listed(missing)}); "
                "they are not stored, and read as the fill value"
            )
        return boxes


def plan_hdf5(
    source: str | os.PathLike[str], request: Request, stack: ExitStack, *, skip_unsupported: bool = False
) -> ConversionPlan:
    """Plan everything in an HDF5 or netCDF-4 file.

    Parameters
    ----------
    source
        The file that is read.
    request
        How arrays are to be stored.
    stack
        Closes the source.
    skip_unsupported
        Leave out what cannot be carried over, with a note; otherwise it is an error.

    Raises
    ------
    SourceError
        Not an HDF5 file, or an object in it that cannot be carried over; the message names it.
    """
    import h5py

    with reading(f"{source}", "/"):
        file = stack.enter_context(h5py.File(source, "r"))
    stored = _stored_bytes(file, stack)
    problems = Problems(skips=skip_unsupported)
    contents = read_contents(file, stored, problems)
    return Planner(file, stored, contents, request, problems).plan()


def _stored_bytes(file: h5py.File, stack: ExitStack) -> SourceBytes | None:
    """Return the bytes of the file, if it is one file on disk."""
    if file.driver not in ONE_FILE_DRIVERS:
        return None
    try:
        return stack.enter_context(SourceBytes(os.fspath(file.filename)))
    except FormatError:  # only the library can read it
        return None
