"""From what is in an HDF5 file to what is written: targets of a write, values, links and attributes."""

from __future__ import annotations

import math
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.base
import numpy as np

from streamh5.conversion.array_target import ArrayTarget, SourceArray, copied, encoded
from streamh5.conversion.hdf5.attributes import read_attributes, tracks_attributes
from streamh5.conversion.hdf5.chunks import ChunkList, find_chunks, needed_chunks, source_filters, stored_as
from streamh5.conversion.hdf5.contents import HardLinkTo
from streamh5.conversion.hdf5.dataset import RegionReader, read_dataset
from streamh5.conversion.hdf5.datatype import stored_type
from streamh5.conversion.hdf5.elements import Referents
from streamh5.conversion.hdf5.errors import reading
from streamh5.conversion.hdf5.virtual import virtual_parts
from streamh5.conversion.request import NotCopiable
from streamh5.dask.graph import Target
from streamh5.errors import (
    BlockError,
    ChunkShapeError,
    DatatypeError,
    FilterError,
    LimitError,
    SourceError,
    SpecError,
    StreamH5Error,
)
from streamh5.filters.fletcher32 import Fletcher32
from streamh5.format.datatype_class import EncodedDatatype
from streamh5.format.fill_value import AllocationTime
from streamh5.handles.dataset_plan import MAX_WHOLE_NBYTES, plan_dataset
from streamh5.model.tree import DatatypeNode
from streamh5.write.place import place_objects

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py
    from numpy.typing import NDArray

    from streamh5.conversion.hdf5.contents import Contents, Entry
    from streamh5.conversion.hdf5.dataset import SourceDataset
    from streamh5.conversion.hdf5.source_bytes import SourceBytes
    from streamh5.conversion.request import Request
    from streamh5.handles.file import File
    from streamh5.model.attribute_spec import AttributeSpec

__all__ = ["FilePlan"]

_FLETCHER32 = Fletcher32.filter_id


@dataclass(frozen=True, slots=True)
class _Whole:
    """A dataset that is written as one value; without a reader, one that holds none."""

    target: Target
    reader: RegionReader | None


class FilePlan:
    """What a file becomes.

    Parameters
    ----------
    file, stored
        The source, and its bytes where it is one file on disk.
    contents
        What is in it.
    request
        How arrays are to be stored.
    skips
        Whether what cannot be read is left out.

    Attributes
    ----------
    targets
        Datasets that are written block by block.
    problems
        What cannot be carried over.
    """

    def __init__(
        self,
        file: h5py.File,
        stored: SourceBytes | None,
        contents: Contents,
        request: Request,
        *,
        skips: bool,
    ) -> None:
        self.targets: list[ArrayTarget] = []
        self.problems = contents.problems
        self._file, self._stored, self._contents = file, stored, contents
        self._request, self._skips = request, skips
        self._notes: list[str] = []
        self._n_comments = 0
        self._wholes: dict[str, _Whole] = {}
        self._datatypes: dict[str, DatatypeNode] = {}
        self._readers: list[RegionReader] = []
        heap = _no_heap if stored is None else stored.heap_object
        self._referents = Referents(contents.paths, heap)
        addresses = {path: address for address, path in contents.paths.items()}
        for path, datatype in list(contents.datatypes.items()):
            try:
                with reading(path, path):
                    self._add_datatype(path, datatype)
            except StreamH5Error as error:
                self._drop(path, addresses[path], error)
        self._check_request(contents)
        for path, dataset in list(contents.datasets.items()):
            try:
                with reading(path, path):
                    self._add(read_dataset(dataset.id, path, addresses[path], file, stored))
            except (FilterError, ChunkShapeError):
                raise
            except StreamH5Error as error:
                self._drop(path, addresses[path], error)
        self._attributes = {path: self._read_attributes(path) for path in contents.paths.values()}
        self.is_netcdf = any(one.name == "_NCProperties" for one in self._attributes.get("/", ()))

    def prepare(self, file: File) -> None:
        """Create everything but the chunks."""
        contents = self._contents
        handles: dict[str, Any] = {"/": file}
        planned = {one.target.spec.path: one.target for one in self.targets}
        planned |= {path: whole.target for path, whole in self._wholes.items()}
        for path, entry in contents.entries.items():
            if path != "/":
                with self._leaving_out(path):
                    self._create(file, path, entry, planned, handles)
        for path, specs in self._attributes.items():
            for spec in specs:
                with self._leaving_out(path):
                    file.session.set_attribute(handles[path].node, spec)
        for reader in self._readers:
            reader.place = partial(place_objects, file.session.place)
        for path, whole in self._wholes.items():
            if whole.reader is not None and path in handles:
                with self._leaving_out(path):
                    self._set_value(file, handles[path], whole.reader)

    def _create(
        self, file: File, path: str, entry: Entry, planned: dict[str, Target], handles: dict[str, Any]
    ) -> None:
        """Create a group, a dataset or a link."""
        if path in self._contents.groups:
            handles[path] = file.create_group(path, track_order=self._contents.groups[path])
        elif path in planned:
            handles[path] = planned[path].create(file)
        elif path in self._datatypes:
            file.session.create_datatype(self._datatypes[path])
            handles[path] = file[path]
        elif isinstance(entry, HardLinkTo):
            if entry.path in handles:
                file[path] = handles[entry.path]
        elif entry is not None:
            file[path] = entry

    @contextmanager
    def _leaving_out(self, path: str) -> Iterator[None]:
        """Leave out what cannot be written, where that is asked for; otherwise the error names the object."""
        try:
            yield
        except (SpecError, LimitError, DatatypeError, BlockError, SourceError, UnicodeError) as error:
            text = str(error) if path in str(error) else f"{path}: {error}"
            problem = SourceError(text, path=path)
            if not self._skips:
                raise problem from error
            self.problems.append(problem)

    def notes(self) -> tuple[str, ...]:
        """Return what there is to say of what was carried over, and what was not."""
        notes = [str(problem) for problem in self.problems] + self._notes
        for reader in self._readers:
            if reader.n_skipped:
                notes.append(
                    f"{reader.dataset.path}: {reader.n_skipped} blocks could not be read, and read as the fill value: "
                    f"{reader.problem}"
                )
        if self._n_comments:
            notes.append(f"{self._n_comments} objects have comments (H5Oset_comment), which are left out")
        if self._referents.nameless_types:
            notes.append(
                f"{len(self._referents.nameless_types)} named datatypes have no name any more; each dataset and "
                "attribute of one has a copy of its own"
            )
        if self._referents.n_dangling:
            notes.append(
                f"{self._referents.n_dangling} references lead to objects that are not there; they are null"
            )
        return tuple(notes)

    def _drop(self, path: str, address: int, error: StreamH5Error) -> None:
        """Leave an object out: references to it lead nowhere."""
        text = str(error)
        is_named = text.startswith((f"{path} ", f"{path}: "))
        problem = SourceError(text if is_named else f"{path} cannot be carried over: {text}", path=path)
        problem.__cause__ = error
        self._contents.drop(path, problem)
        del self._contents.paths[address]

    def _add_datatype(self, path: str, datatype: Any) -> None:
        """Plan a named datatype."""
        kind = stored_type(datatype)
        opaque = np.dtype((np.void, kind.nbytes))
        order = tracks_attributes(datatype.get_create_plist())
        self._datatypes[path] = DatatypeNode(path, opaque, EncodedDatatype(kind.message), order)

    def _check_request(self, contents: Contents) -> None:
        shapes = {}
        for path, dataset in contents.datasets.items():
            try:
                with reading(path, path):
                    shapes[path] = dataset.shape
            except SourceError:
                continue  # it is a problem of its own
        self._request.check_arrays(shapes)

    def _read_attributes(self, path: str) -> list[AttributeSpec]:
        from h5py import h5o

        name = path.encode("utf-8", "surrogateescape")
        try:
            with reading(path, path):
                dataset = self._contents.datasets.get(path)
                obj = self._contents.datatypes.get(path) if dataset is None else dataset.id
                if obj is None:
                    obj = h5o.open(self._file.id, name)
        except SourceError as problem:
            self.problems.append(problem)
            return []
        with suppress(SourceError), reading(path, path):
            self._n_comments += bool(self._file.id.get_comment(name))
        return read_attributes(obj, path, self._referents, self.problems.append)

    def _add(self, dataset: SourceDataset) -> None:
        """Plan a dataset: of one value where it is small or holds references, otherwise a target."""
        path, request = dataset.path, self._request
        reader = RegionReader(dataset, self._skips)
        common: dict[str, Any] = {
            "dtype": dataset.dtype,
            "datatype": EncodedDatatype(dataset.kind.message),
            "type_path": self._referents.type_path(dataset.kind.address),
            "track_order": dataset.track_order,
            "libver": request.libver,
        }
        if dataset.shape is None:
            spec, chain = plan_dataset(path, shape=None, **common)
            self._wholes[path] = _Whole(Target(spec, chain, None, None), None)  # type: ignore[arg-type]
            return
        is_empty = not dataset.is_allocated
        is_asked = dataset.shape and request.chunks_of(path, dataset.shape) is not None
        is_small = dataset.chunks is None and not is_asked and dataset.nbytes <= MAX_WHOLE_NBYTES
        is_small = is_small and dataset.layout != "virtual" and dataset.maxshape == dataset.shape
        if dataset.kind.has_references or is_small or (is_empty and not is_asked):
            if dataset.chunks is not None:
                self._notes.append(f"{path} holds references: it is stored whole, without chunks")
            spec, chain = plan_dataset(
                path, shape=dataset.shape, raw_fillvalue=dataset.fill_value, chunks=False, **common
            )
            times = dataset.fill
            if spec.is_compact != (dataset.layout == "compact") or dataset.chunks is not None:
                times = replace(
                    times, allocation_time=AllocationTime.EARLY if spec.is_compact else AllocationTime.LATE
                )
            spec = replace(
                spec,
                allocation_time=times.allocation_time,
                write_time=times.write_time,
                fill_parts=dataset.fill_parts,
            )
            whole = _Whole(Target(spec, chain, None, None), None if is_empty else reader)  # type: ignore[arg-type]
            self._wholes[path] = whole
            return
        self._readers.append(reader)
        self.targets.append(self._target(dataset, reader))

    def _target(self, dataset: SourceDataset, reader: RegionReader) -> ArrayTarget:
        path, request = dataset.path, self._request
        shape = dataset.shape or ()
        chunks = find_chunks(dataset, self._stored)
        boxes = self._boxes(dataset, chunks)
        source = SourceArray(
            path,
            shape,
            dataset.dtype,
            None,
            reader,
            dataset.chunks,
            dask.base.tokenize(
                os.path.realpath(dataset.filename), os.stat(dataset.filename).st_mtime_ns, path
            ),
            None if dataset.maxshape == shape else dataset.maxshape,
            datatype=EncodedDatatype(dataset.kind.message),
            raw_fillvalue=dataset.fill_value,
            type_path=self._referents.type_path(dataset.kind.address),
            fill_parts=dataset.fill_parts,
            times=(dataset.fill.allocation_time if dataset.chunks else None, dataset.fill.write_time),
            needed=None if boxes is None else lambda unit: needed_chunks(boxes, shape, unit),
        )
        order = dataset.track_order
        try:
            return copied(source, stored_as(source, dataset, chunks, request), request, track_order=order)
        except NotCopiable as reason:
            if request.copy:
                raise FilterError(
                    f"{path}: its chunks cannot be copied: {reason}; leave copy=True out to have them decoded "
                    "and encoded",
                    path=path,
                ) from reason
            filters = source_filters(dataset)
            if filters is None and request.keeps_filters:
                names = ", ".join(record.name or str(record.filter_id) for record in dataset.filters)
                self._notes.append(
                    f"{path}: its filters ({names}) cannot be applied here; gzip takes their place"
                )
            if request.fletcher32 is None and any(one.filter_id == _FLETCHER32 for one in dataset.filters):
                if request.compression is None:
                    self._notes.append(
                        f"{path}: its checksums go with the filters; fletcher32=True keeps them"
                    )
                else:
                    request = replace(request, fletcher32=True)
            return encoded(source, request, str(reason), track_order=order, filters=filters)

    def _boxes(self, dataset: SourceDataset, chunks: ChunkList | None) -> NDArray[np.intp] | None:
        """Parts of a dataset that hold data, ``(n, 2, rank)``; None for all of it."""
        shape = dataset.shape or ()
        if chunks is not None and chunks.is_certain:
            starts = chunks.map.origins()
            stops = np.minimum(starts + np.array(dataset.chunks), np.array(shape))
            return np.stack([starts, stops], axis=1)
        if dataset.layout != "virtual":
            return np.zeros((0, 2, len(shape)), np.intp) if not dataset.is_allocated else None
        parts = virtual_parts(dataset.id, dataset.id.get_create_plist(), self._file)
        if parts.missing:
            names = ", ".join(parts.missing[:3]) + (", ..." if len(parts.missing) > 3 else "")
            self._notes.append(
                f"{dataset.path}: {len(parts.missing)} sources of the virtual dataset are not there ({names}); they "
                "are not stored, and read as the fill value"
            )
        return parts.boxes

    def _set_value(self, file: File, handle: Any, reader: RegionReader) -> None:
        """Write a dataset as one value."""
        if not math.prod(reader.dataset.shape or ()):
            return
        if reader.dataset.kind.has_pointers:
            file.session.set_parts(handle.number, handle.node, reader.parts(self._referents))
        else:
            handle[()] = reader(reader.dataset.whole)


def _no_heap(address: int, index: int) -> bytes:
    raise SourceError(
        f"object {index} of the heap at {address:,} is not read: the file is not one file on disk"
    )
