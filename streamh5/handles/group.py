"""``Group``: the handle of a group, which creates objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.memory_size import check_held
from streamh5.arguments.signatures import passes_on
from streamh5.errors import PathError, counted
from streamh5.filters import FilterOptions
from streamh5.handles.attributes import named_type
from streamh5.handles.dataset import Dataset
from streamh5.handles.dataset_plan import plan_dataset
from streamh5.handles.given_data import as_array, shape_of, without_data
from streamh5.handles.group_contents import object_at
from streamh5.handles.group_virtual import GroupVirtual
from streamh5.handles.like_dataset import check_same, keywords_of
from streamh5.handles.named_datatype import Datatype
from streamh5.handles.object_times import times_now
from streamh5.model.links import similar_name
from streamh5.model.reference import Reference
from streamh5.model.tree import DatasetNode, DatatypeNode, GroupNode, Node, find

if TYPE_CHECKING:
    from streamh5.handles.dataset_keywords import DatasetKeywords, OtherKeywords
    from streamh5.handles.file import File


class Group(GroupVirtual):
    """A group of a file that is being written; made by `create_group`, and a `File` is its root group.

    A mapping of its objects. Its keys include soft and external links; `values` and `items` leave these out.

    Examples
    --------
    >>> with streamh5.File("x.h5", "w") as f:
    ...     run = f.create_group("run")
    ...     run["temperature"] = [20.5, 20.7]
    ...     run["again"] = streamh5.SoftLink("/run/temperature")
    ...     run.attrs["station"] = 4
    ...     print(run.name, list(run), list(run.items()), len(run.values()))
    ...     print(run.parent == f, run.file is f, run.ref, "humidity" in run, run.get("humidity", "none"))
    /run ['again', 'temperature'] [('temperature', <streamh5.Dataset '/run/temperature': ...>)] 1
    True True Reference(path='/run') False none
    """

    def __init__(self, file: File, node: GroupNode) -> None:
        super().__init__(file.session, node)
        self._file = file

    @property
    def file(self) -> File:
        """The `File` that contains the group."""
        return self._file

    @check_keywords
    def create_group(
        self, name: str | bytes, track_order: bool | None = None, *, track_times: bool | None = False
    ) -> Group:
        """Create a group, and missing parents.

        Parameters
        ----------
        name
            Path, from this group or, with a leading ``/``, from the root.
        track_order
            Track the creation order of its links and attributes; None for the setting of the file.
        track_times
            Store the present time in its header.

        Returns
        -------
        Group
            The new group.

        Raises
        ------
        PathError
            The name is taken, or invalid in HDF5.
        StateError
            The file is closed.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f.create_group("runs/1").name
        '/runs/1'
        """
        self.session.check_open()
        order = self.file.track_order if track_order is None else track_order
        node = self.session.create_group(self.absolute_path(name), track_order=order)
        node.optional = times_now(track_times)
        return Group(self.file, node)

    @check_keywords
    def create_dataset(
        self,
        name: str | bytes,
        shape: Any = None,
        dtype: Any = None,
        data: Any = None,
        *,
        chunks: Any = None,
        maxshape: Any = None,
        compression: Any = None,
        compression_opts: Any = None,
        shuffle: bool | None = None,
        fletcher32: bool | None = None,
        scaleoffset: int | bool | None = None,
        fillvalue: Any = None,
        track_order: bool | None = None,
        track_times: bool | None = False,
        write_empty_chunks: bool = True,
        alloc_time: str | None = None,
        allow_unknown_filter: bool | None = None,
    ) -> Dataset:
        """Create a dataset, and missing parent groups. The keywords are those of h5py.

        Parameters
        ----------
        name
            Path, from this group or, with a leading ``/``, from the root.
        shape
            Tuple of ints. The leading extent may be None: it then becomes the number of rows written.
            ``()`` makes a scalar; without `shape` and `data` the dataset has a null dataspace.
        dtype
            Anything that numpy accepts, or a named `Datatype` of this file; by default the dtype of `data`, else
            float32.
        data
            Array-like to write immediately; an `h5py.Empty` makes a null dataspace.
        chunks
            Chunk shape. True or ``"auto"`` choose chunks of 1 to 8 MiB; so does None, except that
            unfiltered data of up to 64 KiB is stored without chunks. False stores data of any size
            without chunks; it must fit into memory, where it stays until the file is closed.
        maxshape
            Extents up to which the dataset may be resized later; None for an unlimited extent, True
            for unlimited extents everywhere. By default the dimensions are fixed when the file is closed.
        compression, compression_opts, shuffle, fletcher32, scaleoffset
            Filters, as in h5py; none by default.
        fillvalue
            Value of chunks that are never written, and of the padding of edge chunks; zero by default.
        track_order, track_times
            See `create_group`; the order is that of attributes.
        write_empty_chunks
            False leaves out chunks that contain only the fill value.
        alloc_time
            ``"early"`` reserves all chunks on creation (Implicit index); for unfiltered datasets of fixed shape.
        allow_unknown_filter
            Whether `compression` may be a filter that streamh5 does not have, whose chunks are passed to
            `Dataset.write_direct_chunk`. None allows this if there is no `data`.

        Returns
        -------
        Dataset
            The new dataset, to which data is written with `Dataset.append` and ``dataset[...] = ...``.

        Raises
        ------
        SpecError
            The arguments contradict one another: see its subclasses.
        DatatypeError
            The dtype cannot be written.
        LimitError
            A limit of HDF5 is exceeded.
        StateError
            The file is closed.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (1000, 1000), "f4", chunks=(100, 1000), compression="gzip")
        ...     x[:500] = 1
        ...     names = f.create_dataset("names", data=["north", "south"])
        >>> x.chunks, names.shape
        ((100, 1000), (2,))
        """
        self.session.check_open()
        path = self.absolute_path(name)
        named = named_type(dtype, self.session, path=path)
        dtype = dtype if named is None else named.dtype
        if shape is None:
            dtype, data = without_data(data, dtype, path)
        array = None if data is None else as_array(data, dtype, path)
        filters = FilterOptions(
            compression=compression,
            compression_opts=compression_opts,
            shuffle=shuffle,
            fletcher32=fletcher32,
            scaleoffset=scaleoffset,
            allow_unknown_filter=array is None and allow_unknown_filter is not False,
        )
        spec, chain = plan_dataset(
            path,
            shape=shape_of(shape, array, dtype, path),
            dtype=array.dtype if array is not None and dtype is None else dtype,
            chunks=chunks,
            maxshape=maxshape,
            filters=filters,
            fillvalue=fillvalue,
            track_order=self.file.track_order if track_order is None else track_order,
            alloc_time=alloc_time,
            libver=self.file.libver,
            datatype=None if named is None else named.datatype,
            type_path=None if named is None else named.path,
        )
        if chunks is False and array is None:
            check_held(path, spec.value_nbytes)
        return self.file.add_dataset(
            spec,
            chain,
            source=self.session.options.resume_key,
            write_empty_chunks=write_empty_chunks,
            optional=times_now(track_times),
            value=array,
        )

    @check_keywords
    @passes_on(create_dataset)
    def require_dataset(
        self,
        name: str | bytes,
        shape: Any,
        dtype: Any,
        *,
        exact: bool = False,
        **kwds: Unpack[OtherKeywords],
    ) -> Dataset:
        """Return the dataset `name`; create it if it is missing.

        Parameters
        ----------
        name
            Path, from this group or, with a leading ``/``, from the root.
        shape
            Its shape; a dataset that is there must have it, or the `maxshape` given here.
        dtype
            Its dtype; numpy must be able to cast it to that of a dataset that is there without loss, or with `exact`
            it must be the same.
        exact
            See `dtype`.
        **kwds
            Other keywords of `create_dataset`, for a new dataset.

        Returns
        -------
        Dataset
            The one that is there, or a new one.

        Raises
        ------
        PathError
            The name is that of a group or a named datatype.
        ShapeError, DatatypeError
            The dataset that is there has another shape or dtype.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.require_dataset("x", (10,), "i4")
        ...     f.require_dataset("x", (10,), "i4") == x
        True
        """
        if name not in self:
            return self.create_dataset(name, shape, dtype, **kwds)
        found = self[name]
        if not isinstance(found, Dataset):
            raise PathError(f"{found.name} is a {type(found).__name__}, not a dataset; choose another name")
        check_same(found, shape, dtype, is_exact=exact, maxshape=kwds.get("maxshape", ...))
        return found

    @check_keywords
    @passes_on(create_dataset)
    def create_dataset_like(
        self, name: str | bytes, other: Any, **kwupdate: Unpack[DatasetKeywords]
    ) -> Dataset:
        """Create a dataset with the shape, dtype, chunks, filters and fill value of another, without its data.

        Parameters
        ----------
        name
            Path, from this group or, with a leading ``/``, from the root.
        other
            A dataset of streamh5 or h5py, of any file.
        **kwupdate
            Keywords of `create_dataset` that replace those of `other`.

        Returns
        -------
        Dataset
            The new dataset.

        Raises
        ------
        SpecError, DatatypeError, LimitError
            As for `create_dataset`.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     raw = f.create_dataset("raw", (100, 100), "u2", chunks=(10, 100), compression="gzip")
        ...     flat = f.create_dataset_like("flat", raw, dtype="f4")
        >>> flat.chunks, flat.dtype, flat.compression
        ((10, 100), dtype('float32'), 'gzip')
        """
        return self.create_dataset(name, **{**keywords_of(other), **kwupdate})

    def require_group(self, name: str | bytes) -> Group:
        """Return the group `name`; create it if it is missing.

        Parameters
        ----------
        name
            Path, from this group or, with a leading ``/``, from the root.

        Raises
        ------
        PathError
            The name is that of another object, or invalid in HDF5.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f.require_group("runs") == f.require_group("runs")
        True
        """
        found = find(self.session.root, self.absolute_path(name))
        return Group(self.file, found) if isinstance(found, GroupNode) else self.create_group(name)

    def __getitem__(self, name: str | bytes | Reference) -> Group | Dataset | Datatype:
        """Return the handle of an object, by its path or a reference to it.

        Parameters
        ----------
        name
            Path, from this group or, with a leading ``/``, from the root; or a `Reference`.

        Raises
        ------
        KeyError
            There is no such object, or a link leads to another file.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f["runs/1/x"] = np.zeros(10)
        ...     f["runs"]["1/x"] == f["/runs/1/x"]
        True
        """
        path = name.path if isinstance(name, Reference) else self.absolute_path(name)
        node = object_at(self.session.root, path)
        if node is None:
            meant = similar_name(self.session.root, path)
            raise KeyError(f"there is no object {path} in the file, or it is in another file{meant}")
        return self.handle_of(node)

    def handle_of(self, node: Node) -> Group | Dataset | Datatype:
        """Return the handle of an object of the file."""
        if isinstance(node, DatatypeNode):
            return Datatype(self.file, node)
        return self.file.dataset(node) if isinstance(node, DatasetNode) else Group(self.file, node)

    def __bool__(self) -> bool:
        return self.session.is_open

    def __repr__(self) -> str:
        return f"<streamh5.Group {self.name!r}: {counted(len(self), 'object')}>"
