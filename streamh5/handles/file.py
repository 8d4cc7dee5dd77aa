"""``File``: the handle of a file that is being written."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamh5.arguments.keywords import Keep, Sync, check_keywords, read_libver
from streamh5.arguments.memory_size import MemorySize, read_memory_size
from streamh5.arguments.page_size import PageSize, read_page
from streamh5.arguments.paths import LocalPath, local_path
from streamh5.arguments.write_options import WriteOptions
from streamh5.errors import SpecError, counted
from streamh5.handles.dataset import Dataset
from streamh5.handles.destination import open_free_destination, references_output
from streamh5.handles.file_datasets import FileDatasets
from streamh5.handles.object_times import times_now
from streamh5.handles.session import Session
from streamh5.sinks.base import as_journaled
from streamh5.sinks.destination_path import destination_url, is_path
from streamh5.sinks.working_names import snapshot_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from streamh5.sinks.destination_path import Destination
    from streamh5.write.summary import WriteSummary

_MODES = {"r+": "a", "w-": "x"}
"""Modes of h5py that have another name here."""

HEADER_SLACK = 512
"""Bytes reserved after each header in the front region for later attributes: about ten short ones."""


class File(FileDatasets):
    """Write a new HDF5 file, which readers see when it is complete.

    As a context manager it is closed, and thereby published, at the end of the block. If the block raises, the process
    ends, or the file is never closed, an existing file of that name stays unchanged, and the stored data is kept next
    to it in ``OUT.partial``: resume the write with ``resume=True``, turn it into a file with `salvage`, or drop it with
    mode ``"w"``. A note on the error, or an `InterruptedWriteWarning`, reports this.

    Parameters
    ----------
    path
        The destination: a path, the URL of an object (``s3://``, ``gs://``, ``az://``, ...; docs/cloud.md), a writable
        binary file object, or a `Sink`. A file object that is seekable (such as `io.BytesIO`) is emptied on opening,
        so it is empty after a failure. One that is not (a pipe, a member of a zip file) receives the file when it is
        closed, from where it stands; until then a temporary file holds it.
    mode
        ``"w"`` replaces an existing file, ``"x"`` (or ``"w-"``) fails if there is one, ``"a"`` changes a file that is
        there, whoever wrote it, or creates one; ``"r+"`` does the first only (docs/growing.md). That file stays
        readable at all times; readers see the changes, all together, when it is closed or flushed.
    track_order
        Track the creation order of links and attributes everywhere in the file.
    track_times
        Store the present time in the header of the root group of a new file.
    threads
        Number of threads that run the filters; None for one per core.
    max_memory
        Largest total size of the raw blocks in flight, in bytes or as text such as ``"1 GB"``; `append`
        and item assignment wait while it is used up. Chunks that were filled in part may take half of it; by default,
        they have room of their own, at least one row of chunks of each dataset: see docs/performance.md.
    header_slack
        Bytes reserved after each header in front of the data, for attributes that are set later.
    resume
        Resume an interrupted write of the same name, or start a new one if there is none. Create the
        same objects again; `Dataset.n_appended` and `Dataset.is_stored` tell which data is stored.
    resume_key
        Identity of the source; it must equal that of the interrupted write.
    journal
        Of a URL: keep a journal of the write in this local file, so that it can be resumed; with `resume` by default
        in ``NAME.upload.journal`` in the working directory.
    sync
        ``"close"`` (fsync when the file is closed), ``"batch"`` (also every two seconds, so that a power
        cut loses at most two seconds of work) or ``"none"``; see docs/reliability.md.
    keep
        Whether to keep the data of an interrupted write: ``"always"``, ``"never"``, or ``"costly"``: if it took a
        minute or is 1 GiB or larger. With `resume` it is always kept.
    libver
        Oldest HDF5 library that must be able to read the file: ``"v110"`` (HDF5 1.10), ``"v108"`` (HDF5 1.8, older
        MATLAB; v1 B-trees as chunk index) or ``"v200"`` (chunks of 4 GiB and more are allowed). As in h5py also
        ``"earliest"`` (v108), ``"latest"`` (v200) and tuples, of which the first counts.
    page
        Write the file with pages (file space strategy PAGE), for readers with a page buffer (``page_buf_size`` of
        h5py): they get all metadata with one or two requests (docs/cloud.md). True for pages that fit the metadata in
        front of the file; or their size, such as ``"8 MiB"``. A file that is there keeps its own.
    references
        Where to write kerchunk references when the file is closed (`WriteSummary.to_kerchunk`): a ``.json``
        file or a ``.parquet`` directory. Objects that they cannot express are refused on creation.
    storage_options
        How to reach the object store of a URL, as for fsspec and dask.

    Attributes
    ----------
    summary
        `WriteSummary` of the closed file; None before it is closed.

    Raises
    ------
    SinkError
        The destination cannot be written: see its subclasses.
    SpecError
        A keyword has a value that it cannot have, or contradicts another.
    ResumeError
        The interrupted write differs from this one.

    See Also
    --------
    to_fixed_h5 : Write dask arrays, and others, in one call.
    salvage : Turn an interrupted write into a file.

    Examples
    --------
    >>> with streamh5.File("run.h5", "w") as f:
    ...     f.attrs["operator"] = "M. Curie"
    ...     frames = f.create_dataset("frames", (None, 64, 64), "u2", compression="gzip")
    ...     for i in range(100):
    ...         frames.append(np.full((64, 64), i))
    >>> f.summary.nbytes
    819200
    >>> f.filename, f.mode, f.libver, f.track_order, f.file is f
    ('...run.h5', 'r+', 'v110', False, True)
    """

    @check_keywords
    def __init__(
        self,
        path: Destination,
        mode: str = "x",
        *,
        track_order: bool | None = False,
        track_times: bool | None = False,
        threads: int | None = None,
        max_memory: MemorySize | None = None,
        header_slack: int = HEADER_SLACK,
        resume: bool = False,
        resume_key: str | None = None,
        journal: LocalPath | None = None,
        sync: Sync = "close",
        keep: Keep = "always",
        libver: str | tuple[str, str] = "v110",
        page: PageSize | None = None,
        references: LocalPath | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        options = WriteOptions(
            mode=_MODES.get(mode, mode) if isinstance(mode, str) else mode,
            must_exist=mode == "r+",
            track_order=bool(track_order),
            threads=threads,
            max_memory=read_memory_size(max_memory, "max_memory"),
            header_slack=header_slack,
            resume=resume,
            journal=journal,
            resume_key=resume_key,
            sync=sync,
            keep=keep,
            libver=read_libver("libver", libver),
            page=read_page("page", page),
            references=references,
            storage_options=storage_options,
        )
        self._open(path, options)
        if track_times and self._node.stored_address is None:
            self._node.optional = times_now(track_times)

    def _open(self, path: Destination, options: WriteOptions) -> None:
        """Open the destination and begin the write."""
        if options.references is not None and not (is_path(path) or destination_url(path)):
            raise SpecError(
                "references name a file by its path; write to a path, not to a file object or a Sink"
            )
        self._references = references_output(options)
        self.datasets: dict[str, Dataset] = {}
        self._references_lock = threading.RLock()
        self._has_references = False
        sink, recovery, existing = open_free_destination(path, options)
        if existing is not None:
            # netCDF-C changes no file with groups that do not track it
            track_order = options.track_order or existing.root.track_order
            options = replace(options, libver=existing.libver, track_order=track_order)
        try:
            self.session = Session(sink, options, recovery=recovery, existing=existing)
        except BaseException:
            if existing is not None:
                existing.close()
            journal = as_journaled(sink)
            journal.suspend() if recovery and journal else sink.abort()  # keep the interrupted write
            raise
        self._node = self.session.root

    @property
    def track_order(self) -> bool:
        """Whether the creation order of links and attributes is tracked by default, as the root group does."""
        return self.session.options.track_order

    @property
    def file(self) -> File:
        """The file itself. It is not an attribute: without a reference cycle the last handle frees the file."""
        return self

    @property
    def mode(self) -> str:
        """``"r+"``, as h5py says of every file that can be written."""
        return "r+"

    @property
    def summary(self) -> WriteSummary | None:
        """Summary of the closed file; None before it is closed."""
        return self.session.summary

    def close(self) -> WriteSummary:
        """Write index and headers, make everything durable, and publish the file.

        Calling it again, even from several threads, returns the same summary. It waits for running calls of other
        threads. If it fails, the stored data is kept as after any interruption.

        Returns
        -------
        WriteSummary
            Sizes in bytes, numbers of chunks, and seconds.

        Raises
        ------
        SinkError
            The disk is full, or the name cannot be given.
        StateError
            The write has been aborted or interrupted; or a signal handler closes the file in the middle of a call of
            its thread: set a flag there and close after the call, or use `suspend`.

        Examples
        --------
        >>> f = streamh5.File("x.h5", "w")
        >>> f["x"] = np.arange(1000)
        >>> summary = f.close()
        >>> summary.nbytes
        8000
        """
        summary = self.session.close()
        with self._references_lock:
            if not self._has_references:
                if self._references is not None:
                    self._references.write(summary.references)
                self._has_references = True
        return summary

    def abort(self) -> None:
        """Abort the write and drop the stored data: nothing is published, an existing file stays unchanged.

        Calls of other threads, even waiting ones, raise a `StateError`.

        Examples
        --------
        >>> import os
        >>> f = streamh5.File("x.h5")
        >>> f["x"] = np.arange(1000)
        >>> f.abort()
        >>> os.path.exists("x.h5")
        False
        """
        self.session.abort()

    def suspend(self) -> None:
        """End the write and keep the stored data next to the destination, for a `File` with ``resume=True``.

        Examples
        --------
        >>> f = streamh5.File("x.h5")
        >>> x = f.create_dataset("x", (None, 100), chunks=(10, 100))
        >>> x.append(np.ones((50, 100)))
        >>> f.suspend()

        The same program, started again, continues where it was:

        >>> with streamh5.File("x.h5", resume=True) as f:
        ...     x = f.create_dataset("x", (None, 100), chunks=(10, 100))
        ...     print(x.n_appended)
        ...     x.append(np.ones((20, 100)))
        50
        >>> x.shape
        (70, 100)
        """
        self.session.suspend()

    def flush(self) -> None:
        """Publish everything written so far under the file's name, durably, while writing continues.

        Readers that open the file now see it; readers that have it open keep their state. A new file gets its name
        (in mode ``"w"`` it replaces the old file), and what is written later is an addition to it. From then on
        `abort`, an exception or a crash leaves the state of the last `flush`.

        Index and headers of what has changed are written each time, and those that they replace stay in the file
        unused, as does the chunk at the end of appended rows until it is full: call it every few seconds, not after
        each row. `append` of other threads waits meanwhile; a region that another thread is writing may be missing.

        Raises
        ------
        SinkError
            It cannot be published: the disk is full, or another program has taken the name. Writing may continue,
            unless the disk reported that data is lost.
        StateError
            The file is closed, other processes write to it, or it has a dataset with ``alloc_time="early"``.

        See Also
        --------
        checkpoint : Show readers the present state under another name.

        Examples
        --------
        >>> import h5py
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (None, 4), maxshape=(None, 4), chunks=(2, 4))
        ...     x.append(np.ones((2, 4)))
        ...     f.flush()
        ...     with h5py.File("x.h5") as reader:
        ...         print(reader["x"].shape)
        ...     x.append(np.ones((2, 4)))
        (2, 4)
        """
        self.session.publish(self.session.flush)

    @check_keywords
    def checkpoint(self, path: LocalPath | None = None) -> Path:
        """Let other processes read everything written so far, while writing continues.

        The snapshot is a second name of the file being written, with its own index and headers;
        its cost is proportional to the size of the index. A later checkpoint of the same name shows
        more data. When the file is closed, the name of the snapshot is removed.

        Parameters
        ----------
        path
            Name of the snapshot, on the same file system; ``OUT.snapshot`` by default. An existing
            file of that name is replaced.

        Returns
        -------
        Path
            Name of the snapshot.

        Raises
        ------
        SinkError
            The file system does not support hard links.
        StateError
            The file is closed or was flushed, or a signal handler calls this in the middle of another call.

        Examples
        --------
        >>> import h5py
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (None, 4), chunks=(2, 4))
        ...     x.append(np.ones((2, 4)))
        ...     snapshot = f.checkpoint()
        ...     with h5py.File(snapshot) as reader:
        ...         print(snapshot.name, reader["x"].shape)
        x.h5.snapshot (2, 4)
        """
        snapshot = snapshot_path(Path(self.filename)) if path is None else Path(local_path(path))
        self.session.publish(self.session.checkpoint, snapshot)
        return snapshot

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.session.interrupt(error)
        elif self.session.is_open:
            self.close()

    def _repr_html_(self) -> str:
        from streamh5.handles.html_repr import handle_html  # now: only notebooks need it

        return handle_html("File", self.filename, self._node, self.session)

    def __repr__(self) -> str:
        return f"<streamh5.File {self.filename!r}: {self.session.state}, {counted(len(self.datasets), 'dataset')}>"


def open_file(path: Destination, options: WriteOptions) -> File:
    """Return a new `File` for options that have been checked."""
    file = File.__new__(File)
    file._open(path, options)
    return file
