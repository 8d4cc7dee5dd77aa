"""``File`` and ``Group``: the handles of a file that is being written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamh5.attributes import Attributes
from streamh5.dataset import Dataset
from streamh5.dataset_plan import LIBVERS, as_array, plan_dataset, shape_of
from streamh5.destination import open_destination
from streamh5.errors import PathError, SpecError, StateError
from streamh5.plan.object_path import join_path, split_path
from streamh5.plan.tree import DatasetNode, GroupNode, StoredObject, as_link, find
from streamh5.references.output import ReferencesOutput
from streamh5.session import Session
from streamh5.sinks.local_file import Sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from streamh5.filters import FilterChain
    from streamh5.plan.dataset_spec import DatasetSpec
    from streamh5.sinks.base import Sink
    from streamh5.summary import WriteSummary

__all__ = ["File", "Group"]

HEADER_SLACK = 512
"""Bytes kept free behind each header at the front, for what is set later: about ten short attributes."""


class Group(Mapping[str, "Group | Dataset"]):
    """A group that is being written; made by `create_group`.

    A mapping of what was created in this file; of links it has the names only.
    """

    def __init__(self, file: File, node: GroupNode) -> None:
        self._file = file
        self._node = node
        self.session: Session = file.session

    @property
    def node(self) -> GroupNode:
        """The group in the plan of the file."""
        return self._node

    @property
    def name(self) -> str:
        """Absolute path in the file."""
        return self._node.path

    @property
    def file(self) -> File:
        """The file that it is in."""
        return self._file

    @property
    def parent(self) -> Group:
        """The group that it was created in; the root group is its own."""
        node = find(self._file.session.engine.root, self.name.rpartition("/")[0] or "/")
        return Group(self._file, node) if isinstance(node, GroupNode) else self._file

    @property
    def attrs(self) -> Attributes:
        """Attributes by name."""
        return Attributes(self._file.session, self._node)

    def create_group(self, name: str, track_order: bool | None = None) -> Group:
        """Create a group, with its parents where missing.

        Parameters
        ----------
        name
            Path, from this group or, with a leading ``/``, from the root.
        track_order
            Track the creation order of its links and attributes; None for what the file does.

        Raises
        ------
        PathError
            The name is taken, or HDF5 cannot hold it.
        StateError
            The file is closed.
        """
        self._file.session.check_open()
        order = self._file.track_order if track_order is None else track_order
        return Group(self._file, self._file.session.create_group(self._absolute(name), track_order=order))

    def create_dataset(
        self,
        name: str,
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
        write_empty_chunks: bool = True,
        alloc_time: str | None = None,
    ) -> Dataset:
        """Create a dataset, with its parent groups where missing. The keywords are h5py's.

        Parameters
        ----------
        name
            Path, from this group or, with a leading ``/``, from the root.
        shape
            Tuple of ints. The leading extent may be None: it is what was written at close. ``()``
            makes a scalar; without `shape` and `data` the dataset has a null dataspace.
        dtype
            Anything numpy takes; the dtype of `data`, else float32, by default.
        data
            Array-like to write at once; an `h5py.Empty` makes a null dataspace.
        chunks
            Chunk shape. True or ``"auto"`` pick one of 1 to 8 MiB; so does None, but data of up to
            64 KiB without filters is then stored whole, without chunks. False stores data of any size
            whole; it is kept in memory until the file is closed.
        maxshape
            Extents up to which readers may resize the dataset later; None in it for unlimited, True
            for unlimited everywhere. By default the dimensions are fixed once the file is closed.
        compression, compression_opts, shuffle, fletcher32, scaleoffset
            Filters, as in h5py; none by default.
        fillvalue
            What chunks read as that were never written, and what pads the edge; zero by default.
        track_order
            Track the creation order of attributes; None for what the file does.
        write_empty_chunks
            False leaves chunks out that hold nothing but the fill value.
        alloc_time
            ``"early"`` reserves all chunks at once, one after the other, which needs no index
            (Implicit); for unfiltered datasets of fixed shape.

        Returns
        -------
        Dataset

        Raises
        ------
        SpecError
            Something contradicts itself: see its leaves.
        DatatypeError
            A dtype that cannot be written.
        LimitError
            A limit of HDF5.
        StateError
            The file is closed.
        """
        self._file.session.check_open()
        path = self._absolute(name)
        if data is not None and shape is None and getattr(data, "shape", ()) is None:  # h5py.Empty
            dtype, data = data.dtype if dtype is None else dtype, None
        array = None if data is None else as_array(data, dtype, path)
        spec, chain = plan_dataset(
            path,
            shape=shape_of(shape, array, dtype, path),
            dtype=array.dtype if array is not None and dtype is None else dtype,
            chunks=chunks,
            maxshape=maxshape,
            compression=compression,
            compression_opts=compression_opts,
            shuffle=shuffle,
            fletcher32=fletcher32,
            scaleoffset=scaleoffset,
            fillvalue=fillvalue,
            track_order=self._file.track_order if track_order is None else track_order,
            alloc_time=alloc_time,
            libver=self._file.libver,
            whole=True,
        )
        dataset = self._file.add_dataset(
            spec, chain, source=self._file.resume_key, write_empty_chunks=write_empty_chunks
        )
        if array is not None:
            dataset[...] = array
        return dataset

    def require_group(self, name: str) -> Group:
        """Return the group `name`, made where it is missing.

        Raises
        ------
        PathError
            The name is a dataset's, or HDF5 cannot hold it.
        """
        found = find(self._file.session.engine.root, self._absolute(name))
        return Group(self._file, found) if isinstance(found, GroupNode) else self.create_group(name)

    def __getitem__(self, name: str) -> Group | Dataset:
        """Handle of an object that was created in this file."""
        path = self._absolute(name)
        node = find(self._file.session.engine.root, path)
        if isinstance(node, StoredObject):
            raise KeyError(f"{path} is in the file already; read it with h5py")
        if node is None:
            raise KeyError(f"there is no object {path} in the file that is being written, or it is a link")
        return self._file.datasets[node.path] if isinstance(node, DatasetNode) else Group(self._file, node)

    def __setitem__(self, name: str, value: Any) -> None:
        """Link an object under `name`, or write data there, as h5py does.

        Parameters
        ----------
        name
            Path, from this group or, with a leading ``/``, from the root.
        value
            A `Group` or `Dataset` of this file (a hard link), an `h5py.SoftLink`, an
            `h5py.ExternalLink`, or an array-like, which becomes a dataset.

        Raises
        ------
        PathError
            The name is taken, or the link would make a cycle.
        """
        target = value.node if isinstance(value, (Group, Dataset)) else as_link(value)
        if isinstance(value, (Group, Dataset)) and value.session is not self.session:
            raise PathError(
                f"{value.name} belongs to another file; link it with streamh5.ExternalLink(filename, path)",
                path=value.name,
            )
        if target is None:
            self.create_dataset(name, data=value)
        else:
            self._file.session.link(self._absolute(name), target)

    def __delitem__(self, name: str) -> None:
        raise StateError(f"{self._absolute(name)} stays: delete it with h5py when the file is closed")

    def __contains__(self, name: object) -> bool:
        return (
            isinstance(name, str) and find(self._file.session.engine.root, self._absolute(name)) is not None
        )

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._node.links))

    def __len__(self) -> int:
        return len(self._node.links)

    def __bool__(self) -> bool:
        return self.session.is_open

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and other.node is self._node

    def __hash__(self) -> int:
        return id(self._node)

    def __repr__(self) -> str:
        return f"<streamh5.Group {self.name!r}: {len(self)} objects>"

    def _absolute(self, name: str) -> str:
        names = split_path(name)
        return join_path(names if name.startswith("/") else (*split_path(self.name), *names))


class File(Group):
    """Write a new HDF5 file; readers see it when it is complete.

    As a context manager it is closed, and so published, when the block ends, and given up when the
    block raises: an old file of that name stays as it was then.

    Parameters
    ----------
    path
        The destination, or a `Sink`.
    mode
        ``"w"`` replaces an existing file, ``"x"`` fails if there is one, ``"a"`` adds objects to one
        that streamh5 wrote, behind its end: it can be read at every moment, with the new objects
        when the file is closed. A group that gets a new object or attribute moves: a reference to
        it (no link, and no reference to a dataset) still leads to the group as it was.
    track_order
        Track the creation order of links and attributes everywhere in the file.
    threads
        Threads that run the filters; None for one each core.
    max_memory
        Most raw bytes of blocks in flight; `append` and item assignment wait while it is used up.
    resume
        Take up an interrupted write of the same name, or start a new one when there is none. The
        objects are created again as they were; `Dataset.n_appended` and `Dataset.is_stored` tell
        what is there. A failure keeps what is written, to be resumed.
    resume_key
        Identity of the source, compared with the interrupted write's.
    sync
        ``"close"`` (fsync when the file is closed), ``"batch"`` (also every two seconds: a power cut
        loses no more) or ``"none"``; see docs/reliability.md.
    libver
        Oldest library that is to read the file: ``"v110"`` (HDF5 1.10), ``"v108"`` (HDF5 1.8, older
        MATLAB; v1 B-trees as chunk index) or ``"v200"`` (chunks of 4 GiB and more are allowed).
    references
        Write kerchunk references there when the file is closed (`WriteSummary.to_kerchunk`): a ``.json``
        file or a ``.parquet`` directory. What they cannot express is refused when it is created.

    Attributes
    ----------
    summary
        `WriteSummary` of the closed file; None before.

    Raises
    ------
    SinkError
        The destination cannot be written: see its leaves.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Sink,
        mode: str = "x",
        *,
        track_order: bool = False,
        threads: int | None = None,
        max_memory: int | None = None,
        header_slack: int = HEADER_SLACK,
        resume: bool = False,
        resume_key: str | None = None,
        sync: Sync = "close",
        libver: str = "v110",
        references: str | os.PathLike[str] | None = None,
    ) -> None:
        if libver not in LIBVERS:
            raise SpecError(
                f"libver must be one of {', '.join(map(repr, LIBVERS))}, not {libver!r}", libver=libver
            )
        self.track_order = track_order
        self.resume_key = resume_key
        self._references = ReferencesOutput(references, overwrite=mode != "x")
        self.datasets: dict[str, Dataset] = {}
        sink, recovery, existing = open_destination(path, mode, resume=resume, sync=sync, libver=libver)
        self.libver = libver if existing is None else existing.libver
        try:
            self.session = Session(
                sink,
                recovery=recovery,
                keep=resume,
                libver=self.libver,
                existing=existing,
                track_order=track_order,
                header_slack=header_slack,
                n_threads=threads,
                max_memory=max_memory,
            )
        except BaseException:
            sink.suspend() if recovery else sink.abort()
            raise
        super().__init__(self, self.session.engine.root)

    @property
    def filename(self) -> str:
        """The destination."""
        return self.session.sink.name

    @property
    def summary(self) -> WriteSummary | None:
        """What was written; None before the file is closed."""
        return self.session.summary

    def add_dataset(
        self,
        spec: DatasetSpec,
        chain: FilterChain,
        *,
        source: str | None = None,
        write_empty_chunks: bool = True,
    ) -> Dataset:
        """Create a dataset from its plan; `source` is the identity of what it is written from.

        Raises
        ------
        SpecError
            It was planned for other readers than the file is for.
        """
        if (spec.libver == "v108") != (self.libver == "v108"):
            raise SpecError(
                f"{spec.path} is planned with libver={spec.libver!r}, and {self.filename} is a file for "
                f"{self.libver!r}: pass libver={self.libver!r}",
                libver=spec.libver,
            )
        self._references.check(spec)
        dataset = Dataset(self.session, spec, chain, source=source, write_empty_chunks=write_empty_chunks)
        self.datasets[spec.path] = dataset
        return dataset

    def close(self) -> WriteSummary:
        """Write index and headers, make everything durable, publish the file.

        Calling it again returns the same summary. When it fails, the write is given up.
        """
        summary = self.session.close()
        self._references.write(summary.references)
        return summary

    def abort(self) -> None:
        """Give the write up: nothing is published, an old file stays as it was.

        With ``resume=True`` what is written is kept beside the destination, to be resumed.
        """
        self.session.abort()

    def checkpoint(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Let other processes read everything written so far, while writing goes on.

        The snapshot is a second name of the file being written, with an index and headers of its
        own; what it costs is proportional to the index. A later checkpoint of the same name shows
        more. When the file is closed the snapshot's name is removed.

        Parameters
        ----------
        path
            Name of the snapshot, on the same file system; ``OUT.snapshot`` by default.

        Returns
        -------
        Path

        Raises
        ------
        SinkError
            The file system has no hard links.
        StateError
            The file is closed.
        """
        snapshot = Path(f"{self.filename}.snapshot" if path is None else path)
        self.session.checkpoint(snapshot)
        return snapshot

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif self.session.is_open:
            self.close()

    def __repr__(self) -> str:
        return f"<streamh5.File {self.filename!r}: {self.session.state}, {len(self.datasets)} datasets>"
