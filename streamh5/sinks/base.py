"""The narrow protocols between a writer and the place where its bytes go.

A destination of your own is an object with the four members of `Sink`; pass it to `streamh5.File` in the
place of a path. What more a sink can do, it says by having the methods of `Journaled` or `Snapshots`.

=========== ========= =================================================================
call        protocol  promise
=========== ========= =================================================================
name        Sink      what messages call the destination
write       Sink      positional, any order, thread-safe; ranges written do not overlap,
                      but for byte 0: the superblock is written last, and after each
                      `snapshot` again
commit      Sink      everything written is durable, then the destination has its name
abort       Sink      nothing remains of the write; the destination is as it was; never
                      raises; may be called at any time, also twice
append_log  Journaled journal entries are kept in order, never before the data they claim
suspend     Journaled what is written is kept, to be resumed
has_name    Journaled tells whether a path leads to what is being written
snapshot    Snapshots readers see, under another name, what the superblock refers to
=========== ========= =================================================================

After `commit`, `suspend` or `abort` a `write` is a `StateError`: a worker that finishes late cannot
touch the published file. `streamh5.sinks.gated_sink.GatedSink` keeps that promise for the sinks of
this package.

==================================== ======== ============ =============
sink                                 Journal  Snapshots    destination until `commit`
==================================== ======== ============ =============
`local_file.LocalFileSink`           yes      yes          the old file
`append_file.AppendFileSink`         no       no           the old content
`file_object.FileObjectSink`         no       no           emptied
`memory.MemorySink`                  no       yes          (its `image`)
`UserBlockSink` of conversion/hdf5   no       no           the old file
==================================== ======== ============ =============
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    Buffer: TypeAlias = bytes | bytearray | memoryview | NDArray[np.uint8]


class Sink(Protocol):
    """A destination for the bytes of one file: all that a sink must have."""

    @property
    def name(self) -> str:
        """What a message calls the destination."""

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Put `buffers`, one after the other, at `address`.

        Raises
        ------
        SinkError, OSError
            The bytes could not be written.
        StateError
            After `commit` or `abort`.
        """

    def commit(self, nbytes: int) -> None:
        """Make the `nbytes` of the file durable and publish it under its name."""

    def abort(self) -> None:
        """Give up: remove what was written. Safe to call at any time, also twice."""


@runtime_checkable
class Snapshots(Sink, Protocol):
    """A sink that can show an unfinished file to readers."""

    def snapshot(self, path: Path) -> None:
        """Let readers see, at `path`, what the superblock refers to at this moment.

        Raises
        ------
        SinkError
            It cannot be done there.
        """


@runtime_checkable
class Journaled(Sink, Protocol):
    """A sink that keeps a journal of the write, so that an interrupted write can be resumed."""

    @property
    def journal_facts(self) -> dict[str, Any]:
        """What the header of the journal says of the sink."""

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        """Append entries to the journal of the write.

        Parameters
        ----------
        entries
            Whole entries (`streamh5.recovery.journal`).
        nbytes
            Bytes of data that they claim, all written before.
        is_urgent
            Do not let the entries wait for more of them.
        """

    def has_name(self, path: str | os.PathLike[str]) -> bool:
        """Whether what is written has the name `path` in the file system."""

    def suspend(self) -> None:
        """Stop, and keep what is written where it can be resumed."""


def as_journaled(sink: Sink) -> Journaled | None:
    """Return a sink that keeps a journal as such; None for one that does not.

    This is the one question after a journal. A sink may have the methods and still say no, with
    ``keeps_journal = False``: before `Journaled` was optional, every sink had to have them.
    """
    return sink if isinstance(sink, Journaled) and getattr(sink, "keeps_journal", True) else None
