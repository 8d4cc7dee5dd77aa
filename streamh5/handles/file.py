"""``File``: the handle of a file that is being written."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from streamh5.arguments.keywords import Keep, Sync, check_keywords
from streamh5.arguments.memory_size import MemorySize, read_memory_size
from streamh5.arguments.paths import LocalPath, local_path
from streamh5.arguments.write_options import WriteOptions
from streamh5.errors import DestinationBusyError, SpecError
from streamh5.handles.dataset import Dataset
from streamh5.handles.destination import open_destination
from streamh5.handles.group import Group
from streamh5.handles.session import Session, open_here
from streamh5.references.file_references import ReferencesOutput
from streamh5.sinks.base import as_journaled
from streamh5.sinks.destination_path import is_path, real_path
from streamh5.sinks.working_names import snapshot_path

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from streamh5.filters import FilterChain
    from streamh5.handles.existing_file import ExistingFile
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.recovery.resume import Recovery
    from streamh5.sinks.base import Sink
    from streamh5.sinks.destination_path import Destination
    from streamh5.write.summary import WriteSummary

HEADER_SLACK = 512
"""Bytes kept free behind each header at the front, for what is set later: about ten short attributes."""


class File(Group):
    """Write a new HDF5 file; readers see it when it is complete.

    As a context manager it is closed, and so published, when the block ends. When the block raises, the process
    ends, or nobody closes it, an old file of that name stays as it was, and what was stored is kept beside it in
    ``OUT.partial``: open it again with ``resume=True``, make a file of it with `salvage`, or drop it with mode
    ``"w"``. A note on the error, or an `InterruptedWriteWarning`, says so.

    Parameters
    ----------
    path
        The destination: a path, a binary file object that is writable and seekable (`io.BytesIO`; what it
        holds is replaced at once, so after a failure it is empty), or a `Sink`.
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
        Most raw bytes of blocks in flight, a number or text such as ``"1 GB"``; `append` and item
        assignment wait while it is used up.
    resume
        Take up an interrupted write of the same name, or start a new one when there is none. The
        objects are created again as they were; `Dataset.n_appended` and `Dataset.is_stored` tell
        what is there.
    resume_key
        Identity of the source, compared with the interrupted write's.
    sync
        ``"close"`` (fsync when the file is closed), ``"batch"`` (also every two seconds: a power cut
        loses no more) or ``"none"``; see docs/reliability.md.
    keep
        What stays of a write that is interrupted: ``"always"`` what was stored, ``"never"`` nothing, ``"costly"``
        what took a minute or has a GiB. With `resume` it is always kept.
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

    @check_keywords
    def __init__(
        self,
        path: Destination,
        mode: str = "x",
        *,
        track_order: bool | None = False,
        threads: int | None = None,
        max_memory: MemorySize | None = None,
        header_slack: int = HEADER_SLACK,
        resume: bool = False,
        resume_key: str | None = None,
        sync: Sync = "close",
        keep: Keep = "always",
        libver: str = "v110",
        references: LocalPath | None = None,
    ) -> None:
        options = WriteOptions(
            mode=mode,
            track_order=bool(track_order),
            threads=threads,
            max_memory=read_memory_size(max_memory, "max_memory"),
            header_slack=header_slack,
            resume=resume,
            resume_key=resume_key,
            sync=sync,
            keep=keep,
            libver=libver,
            references=references,
        )
        self._open(path, options)

    def _open(self, path: Destination, options: WriteOptions) -> None:
        """Open the destination and begin the write."""
        if options.references is not None and not is_path(path):
            raise SpecError(
                "references lead to a file by its path; write to a path, not to a file object or a Sink"
            )
        self._references = ReferencesOutput(options.references, overwrite=options.mode != "x")
        self.datasets: dict[str, Dataset] = {}
        self._references_lock = threading.RLock()
        self._has_references = False
        sink, recovery, existing = _open_destination(path, options)
        if existing is not None:
            options = replace(options, libver=existing.libver)
        try:
            self.session = Session(sink, options, recovery=recovery, existing=existing)
        except BaseException:
            journal = as_journaled(sink)
            journal.suspend() if recovery and journal else sink.abort()  # what was resumed stays as it was
            raise
        self._node = self.session.root

    @property
    def libver(self) -> str:
        """Oldest library that is to read the file; of one that is added to, its own."""
        return self.session.options.libver

    @property
    def track_order(self) -> bool:
        """Whether the creation order of links and attributes is tracked."""
        return self.session.options.track_order

    @property
    def file(self) -> File:
        """The file itself. It is not kept in it: a file without a circle is freed when its last handle is dropped."""
        return self

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
        with self.session.call():
            dataset = Dataset(self.session, spec, chain, source=source, write_empty_chunks=write_empty_chunks)
            self.datasets[spec.path] = dataset
            return dataset

    def discard_dataset(self, dataset: Dataset) -> None:
        """Take back a dataset whose data did not come: the file is written without it."""
        self.datasets.pop(dataset.name, None)
        self.session.discard_dataset(dataset.node)

    def close(self) -> WriteSummary:
        """Write index and headers, make everything durable, publish the file.

        Calling it again, also from several threads, returns the same summary. It waits for calls of other threads
        that have begun. When it fails, what is written is kept as after any interruption.

        Raises
        ------
        StateError
            The write was given up; or a signal handler closes the file in the midst of a call of its thread: set a
            flag there and close behind the call, or use `suspend`.
        """
        summary = self.session.close()
        with self._references_lock:
            if not self._has_references:
                self._references.write(summary.references)
                self._has_references = True
        return summary

    def abort(self) -> None:
        """Give the write up and drop what is written: nothing is published, an old file stays as it was.

        Calls of other threads, also those that wait, end in a `StateError`.
        """
        self.session.abort()

    def suspend(self) -> None:
        """Stop, and keep what is stored beside the destination: a `File` with ``resume=True`` goes on with it."""
        self.session.suspend()

    def checkpoint(self, path: LocalPath | None = None) -> Path:
        """Let other processes read everything written so far, while writing goes on.

        The snapshot is a second name of the file being written, with an index and headers of its
        own; what it costs is proportional to the index. A later checkpoint of the same name shows
        more. When the file is closed the snapshot's name is removed.

        Parameters
        ----------
        path
            Name of the snapshot, on the same file system; ``OUT.snapshot`` by default. A file of that
            name is replaced.

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
        snapshot = snapshot_path(Path(self.filename)) if path is None else Path(local_path(path))
        self.session.checkpoint(snapshot)
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

    def __repr__(self) -> str:
        return f"<streamh5.File {self.filename!r}: {self.session.state}, {len(self.datasets)} datasets>"


def open_file(path: Destination, options: WriteOptions) -> File:
    """Return a new `File` for options that are checked already."""
    file = File.__new__(File)
    file._open(path, options)
    return file


def _open_destination(
    path: Destination, options: WriteOptions
) -> tuple[Sink, Recovery | None, ExistingFile | None]:
    """Open a destination; say so when it is this process itself that has it open."""
    try:
        return open_destination(path, options)
    except DestinationBusyError as error:
        mine = open_here(str(real_path(cast("LocalPath", path))))
        if mine is not None:
            raise DestinationBusyError(
                f"{mine.sink.name} is open in this process since {mine.leftover.began_at}; close it (f.close()), or "
                "give it up (f.abort())",
                path=mine.sink.name,
            ) from error
    return open_destination(path, options)  # collecting garbage has ended the write that held it
