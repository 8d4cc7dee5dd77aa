"""HDF5 and netCDF-4 files, read with h5py, as sources: repacked, rechunked or with other filters.

Every object is carried over: groups, datasets, links of each kind, attributes, references. Where neither
chunks nor filters change, stored chunks are copied from the file without the HDF5 library.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.base
import numpy as np

from streamh5.dataset_plan import MAX_WHOLE_NBYTES, as_dtype, plan_dataset
from streamh5.errors import FilterError, SourceError
from streamh5.format.link import ExternalLink, SoftLink
from streamh5.plan.parts import has_references
from streamh5.sources.array_target import ArrayTarget, SourceArray, copied, encoded
from streamh5.sources.conversion import Conversion
from streamh5.sources.dask_blocks import limit_workers
from streamh5.sources.dask_graph import Target, Write
from streamh5.sources.hdf5_attributes import attribute_specs, with_paths
from streamh5.sources.hdf5_chunks import source_filters, stored_as
from streamh5.sources.zarr_codecs import NotCopiable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import h5py

    from streamh5.file import File
    from streamh5.memory_size import MemorySize
    from streamh5.plan.attribute_spec import AttributeSpec
    from streamh5.sinks.local_file import Sync
    from streamh5.sources.conversion import Request

__all__ = ["from_hdf5"]


@dataclass(slots=True)
class _Contents:
    """What is in a file, in the order in which it is made again.

    ``order`` has the names of everything; ``paths`` those of all objects by their addresses. The first name
    of an object counts, others are hard links.
    """

    order: list[str] = field(default_factory=list)
    groups: dict[str, bool] = field(default_factory=dict)
    datasets: dict[str, Any] = field(default_factory=dict)
    links: dict[str, str | SoftLink | ExternalLink] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)
    problems: list[SourceError] = field(default_factory=list)


def from_hdf5(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    request: Request,
    *,
    skip_unsupported: bool = False,
    overwrite: bool = False,
    sync: Sync = "close",
    max_memory: MemorySize | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
) -> Conversion:
    """Write all that is in an HDF5 or netCDF-4 file as a new file.

    Parameters
    ----------
    source
        The file that is read.
    path
        The file to write.
    request
        How arrays are to be stored.
    skip_unsupported
        Leave out what cannot be carried over, and say so in the notes; otherwise it is an error.
    overwrite, sync, max_memory, progress
        As for `to_fixed_h5`.

    Raises
    ------
    SourceError
        Not an HDF5 file, or an object in it that cannot be carried over; the message names it.
    SpecError, DatatypeError, LimitError
        Something that cannot be written as asked.
    SinkError
        The destination.
    """
    import h5py

    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 - with it the library finds its filters

    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise SourceError(f"{source}: h5py cannot open it: {error}", source=str(source)) from error
    with file:
        contents = _contents(file)
        request.check_arrays({name: one.shape for name, one in contents.datasets.items()})
        plan = _Plan(file, contents, request)
        notes = [str(problem) for problem in contents.problems]
        if contents.problems and not skip_unsupported:
            first = contents.problems[0]
            others = f" ({len(notes) - 1} more such objects)" if len(notes) > 1 else ""
            raise SourceError(
                f"{first}{others}; skip_unsupported=True (--skip-unsupported) leaves it out", **first.facts
            )
        targets = [one.target for one in plan.targets]
        write = Write(
            path,
            targets,
            plan.prepare,
            mode="w" if overwrite else "x",
            options={
                "track_order": contents.groups["/"],
                "resume": False,
                "sync": sync,
                "libver": request.libver,
            },
            progress=progress,
        )
        summary = write.compute(**({} if max_memory is None else limit_workers({}, targets, max_memory)))
        is_netcdf = "_NCProperties" in file.attrs
    reports = tuple(one.report() for one in plan.targets)
    return Conversion(summary, reports, "netCDF-4" if is_netcdf else "HDF5", tuple(notes))


def _contents(file: h5py.File) -> _Contents:
    contents = _Contents()
    _visit(file["/"], "/", contents)
    return contents


def _visit(group: Any, path: str, contents: _Contents) -> None:
    """Enter a group and all that is in it."""
    import h5py
    from h5py import h5, h5o, h5p

    contents.paths[h5o.get_info(group.id).addr] = path
    is_ordered = bool(group.id.get_create_plist().get_link_creation_order() & h5p.CRT_ORDER_TRACKED)
    contents.groups[path] = is_ordered
    contents.order.append(path)
    names: list[bytes] = []
    order = h5.INDEX_CRT_ORDER if is_ordered else h5.INDEX_NAME
    group.id.links.iterate(names.append, idx_type=order)
    for encoded_name in names:
        name = encoded_name.decode("utf-8", "surrogateescape")
        inner = f"{path.rstrip('/')}/{name}"
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            contents.order.append(inner)
        if isinstance(link, h5py.SoftLink):
            contents.links[inner] = SoftLink(link.path)
        elif isinstance(link, h5py.ExternalLink):
            contents.links[inner] = ExternalLink(link.filename, link.path)
        elif not isinstance(link, h5py.HardLink):
            contents.problems.append(SourceError(f"{inner} is a link of unknown kind", path=inner))
        else:
            _visit_object(group[name], inner, contents)


def _visit_object(obj: Any, path: str, contents: _Contents) -> None:
    import h5py
    from h5py import h5o

    address = h5o.get_info(obj.id).addr
    if address in contents.paths:
        contents.order.append(path)
        contents.links[path] = contents.paths[address]
    elif isinstance(obj, h5py.Group):
        _visit(obj, path, contents)
    elif isinstance(obj, h5py.Dataset):
        contents.paths[address] = path
        contents.datasets[path] = obj
        contents.order.append(path)
    else:
        contents.problems.append(
            SourceError(f"{path} is a named datatype, which streamh5 does not write", path=path)
        )


class _Plan:
    """Targets of the datasets, and what is made besides."""

    def __init__(self, file: h5py.File, contents: _Contents, request: Request) -> None:
        self.targets: list[ArrayTarget] = []
        self._contents = contents
        self._values: dict[str, tuple[Target, Any]] = {}
        for path, dataset in list(contents.datasets.items()):
            try:
                self._add(file, path, dataset, request)
            except FilterError:
                raise
            except (TypeError, ValueError, OverflowError) as error:
                contents.problems.append(SourceError(f"{path} cannot be carried over: {error}", path=path))
                del contents.datasets[path]
        dropped = {address for address, path in contents.paths.items() if not self._is_kept(path)}
        for address in dropped:
            del contents.paths[address]
        self._attributes = {path: list(self._specs(file, path)) for path in contents.paths.values()}

    def _is_kept(self, path: str) -> bool:
        return path in self._contents.groups or path in self._contents.datasets

    def _specs(self, file: h5py.File, path: str) -> Iterator[AttributeSpec]:
        obj = self._contents.datasets.get(path) or file[path]
        for _, spec in attribute_specs(obj, path, self._contents.paths):
            if isinstance(spec, SourceError):
                self._contents.problems.append(spec)
            else:
                yield spec

    def _add(self, file: h5py.File, path: str, dataset: Any, request: Request) -> None:
        """Plan a dataset: of one value where it is small or holds references, otherwise a target."""
        from h5py import h5d, h5p

        plist = dataset.id.get_create_plist()
        order = bool(plist.get_attr_creation_order() & h5p.CRT_ORDER_TRACKED)
        dtype = as_dtype(dataset.dtype, path)
        if dataset.shape is None:
            spec, chain = plan_dataset(path, shape=None, dtype=dtype, track_order=order)
            self._values[path] = Target(spec, chain, None, None), None  # type: ignore[arg-type]
            return
        fill = None
        if plist.fill_value_defined() == h5d.FILL_VALUE_USER_DEFINED and not dtype.hasobject:
            fill = dataset.fillvalue
        maxshape = None if dataset.maxshape == dataset.shape else dataset.maxshape
        is_whole = dataset.chunks is None and request.chunks_of(path, dataset.shape) is None
        if has_references(dtype) or (is_whole and _nbytes(dataset) <= MAX_WHOLE_NBYTES):
            spec, chain = plan_dataset(
                path, shape=dataset.shape, dtype=dtype, fillvalue=fill, track_order=order,
                libver=request.libver, whole=True,
            )  # fmt: skip
            self._values[path] = Target(spec, chain, None, None), dataset  # type: ignore[arg-type]
            return
        source = SourceArray(
            path,
            dataset.shape,
            dtype,
            fill,
            partial(_read, dataset, path),
            dataset.chunks,
            dask.base.tokenize(os.path.realpath(file.filename), os.stat(file.filename).st_mtime_ns, path),
            maxshape,
        )
        self.targets.append(_target(source, dataset, request, order=order))

    def prepare(self, file: File) -> None:
        """Create everything but the chunks."""
        contents = self._contents
        handles: dict[str, Any] = {"/": file}
        planned = {one.target.spec.path: one.target for one in self.targets}
        planned |= {path: target for path, (target, _) in self._values.items()}
        for path in contents.order[1:]:
            if path in contents.groups:
                handles[path] = file.create_group(path, track_order=contents.groups[path])
            elif path in planned:
                handles[path] = planned[path].create(file)
            elif path in contents.links:
                link = contents.links[path]
                target = handles.get(link) if isinstance(link, str) else link
                if target is not None:
                    file[path] = target
        for path, specs in self._attributes.items():
            for spec in specs:
                file.session.set_attribute(handles[path].node, spec)
        for path, (_, dataset) in self._values.items():
            if dataset is not None and dataset.size:
                values = np.empty(dataset.shape, dataset.dtype)
                values[...] = _read(dataset, path, ())
                handles[path][()] = with_paths(values, dataset.file, contents.paths)


def _nbytes(dataset: Any) -> int:
    return int(dataset.size * max(dataset.dtype.itemsize, 16 if dataset.dtype.hasobject else 0))


def _read(dataset: Any, path: str, region: tuple[slice, ...]) -> Any:
    try:
        return dataset[region]
    except OSError as error:
        raise SourceError(
            f"{path}: HDF5 cannot read it: {error}; a chunk is damaged, or a filter plugin is missing "
            "(pip install hdf5plugin)",
            path=path,
        ) from error


def _target(source: SourceArray, dataset: Any, request: Request, *, order: bool) -> ArrayTarget:
    try:
        return copied(source, stored_as(source, dataset, request), request, track_order=order)
    except NotCopiable as reason:
        if request.copy:
            raise FilterError(
                f"{source.path}: its chunks cannot be copied: {reason}; leave copy=True out to have them decoded "
                "and encoded",
                path=source.path,
            ) from reason
        filters = source_filters(dataset)
        return encoded(source, request, str(reason), track_order=order, filters=filters)
