"""The protocols between a writer and the destination of its bytes.

Any object with the four members of `Sink` can be passed to `streamh5.File` instead of a path. A sink that can do
more has the methods of `Journaled`, `Snapshots`, `Flushable` or `Readable`.

=========== ========= =================================================================
call        protocol  promise
=========== ========= =================================================================
name        Sink      the destination's name in messages
write       Sink      positional, in any order, thread-safe; the ranges written do not
                      overlap, except at byte 0: the superblock is written last, and
                      again for each `snapshot` and `flush`; and chunks of ``alloc_time="early"``
                      that are written again
commit      Sink      everything written is durable, then the file has its name
abort       Sink      removes what was written and leaves the destination unchanged;
                      never raises; may be called at any time, also twice
append_log  Journaled keeps journal entries in order, never before the data they claim
suspend     Journaled keeps what was written, so that it can be resumed
has_name    Journaled tells whether a path leads to the file being written
read        Readable  returns what was written, also before `commit`
snapshot    Snapshots shows readers, under another name, what the superblock refers to
flush       Flushable durable, then readers see what the superblock refers to under the
                      file's name; from then on `abort` leaves that state
=========== ========= =================================================================

After `commit`, `suspend` or `abort`, `write` raises `StateError`, so that a worker that finishes late cannot change
the published file. `streamh5.sinks.gated_sink.GatedSink` guarantees this for the sinks of this package.

======================================== ======== ========= ========= ======== ===========
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from streamh5.errors import SinkError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    from streamh5.sinks.leases import LeaseFolder

    Buffer: TypeAlias = bytes | bytearray | memoryview | NDArray[np.uint8]


class Sink(Protocol):
    """A destination for the bytes of one file: the members that every sink has.

    Implement it to write where neither a path, nor a URL, nor a file object leads. No base class is needed.

    Attributes
    ----------
    name
        The destination's name in messages.

    Examples
    --------
    >>> class Memory:
    ...     name = "memory"
    ...     image = bytearray()
    ...
    ...     def write(self, address, buffers):
    ...         data = b"".join(map(bytes, buffers))
    ...         self.image.extend(bytes(max(0, address + len(data) - len(self.image))))
    ...         self.image[address : address + len(data)] = data
    ...
    ...     def commit(self, nbytes):
    ...         self.image.extend(bytes(nbytes - len(self.image)))
    ...
    ...     def abort(self):
    ...         self.image.clear()
    >>> sink = Memory()
    >>> with streamh5.File(sink) as f:
    ...     f["x"] = np.zeros(10)
    >>> bytes(sink.image[1:4])
    b'HDF'
    """

    @property
    def name(self) -> str:
        """The destination's name in messages."""

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Write `buffers`, one after the other, at `address`; called from many threads at the same time.

        Parameters
        ----------
        address
            Position in the file, in bytes.
        buffers
            Contiguous bytes, which may be reused when this returns.

        Raises
        ------
        SinkError, OSError
            The bytes could not be written.
        StateError
            After `commit` or `abort`.
        """

    def commit(self, nbytes: int) -> None:
        """Make the file durable and publish it under its name.

        Parameters
        ----------
        nbytes
            Size of the file; bytes that were not written are zero.
        """

    def abort(self) -> None:
        """Remove what was written. May be called at any time, also twice."""


@runtime_checkable
class Snapshots(Sink, Protocol):
    """A sink that can make an unfinished file visible to readers."""

    def snapshot(self, path: Path) -> None:
        """Make what the superblock refers to now readable at `path`.

        Parameters
        ----------
        path
            Name of the snapshot.

        Raises
        ------
        SinkError
            The snapshot cannot be made at `path`.
        """


@runtime_checkable
class Readable(Sink, Protocol):
    """A sink from which the file can be read while it is written: for chunks that receive more elements later."""

    def read(self, address: int, nbytes: int) -> bytes:
        """Return `nbytes` at `address`; fewer at the end of the file. Thread-safe.

        Parameters
        ----------
        address, nbytes
            Position in the file, and number of bytes.

        Raises
        ------
        SinkError, OSError
            The bytes could not be read.
        """


@runtime_checkable
class Flushable(Sink, Protocol):
    """A sink that can publish an unfinished file under its name and be written to afterwards."""

    def flush(self, nbytes: int) -> None:
        """Make the `nbytes` that the superblock refers to durable, and let readers see them.

        Other threads may write meanwhile, beyond `nbytes`, too.

        Parameters
        ----------
        nbytes
            Size of the file that the superblock describes.

        Raises
        ------
        SinkError
            It cannot be published; readers see the state before.
        """


@runtime_checkable
class Journaled(Sink, Protocol):
    """A sink that keeps a journal of the write, so that an interrupted write can be resumed."""

    @property
    def journal_facts(self) -> dict[str, Any]:
        """Facts about the sink for the header of the journal."""

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        """Append entries to the journal of the write.

        Parameters
        ----------
        entries
            Complete entries (`streamh5.recovery.journal`).
        nbytes
            Bytes of data that the entries claim, all of them written before this call.
        is_urgent
            Write the entries now instead of collecting a batch.
        """

    def has_name(self, path: str | os.PathLike[str]) -> bool:
        """Return whether the file being written has the name `path` in the file system.

        Parameters
        ----------
        path
            A path of the file system.
        """

    def suspend(self) -> None:
        """Stop writing, and keep what was written so that it can be resumed."""


@runtime_checkable
class Shortenable(Journaled, Protocol):
    """A sink whose journal can be made shorter while the write goes on."""

    def shorten_log(self, shorten: Callable[[bytes], bytes | None]) -> None:
        """Replace the journal if it is long; a failure leaves it as it is.

        Parameters
        ----------
        shorten
            Returns the new contents for the present ones; None to keep them.
        """


@runtime_checkable
class Shareable(Sink, Protocol):
    """A sink whose file other processes can write to, at addresses that they take from leases.

    `commit`, `abort` and `suspend` close the folder of the leases before anything else.
    """

    @property
    def data_path(self) -> Path:
        """The file that receives the bytes."""

    @property
    def leases(self) -> LeaseFolder:
        """The folder of its leases."""

    @property
    def base_address(self) -> int:
        """Position of address 0 in the file: the size of a user block."""


def as_journaled(sink: Sink) -> Journaled | None:
    """Return `sink` as a `Journaled` one, or None if it does not keep a journal.

    A sink that has the methods can still opt out with ``keeps_journal = False``: before `Journaled` was optional,
    every sink had to have them.
    """
    return sink if isinstance(sink, Journaled) and getattr(sink, "keeps_journal", True) else None


def read_stored(sink: Sink, address: int, nbytes: int) -> bytes:
    """Read what was written, for a chunk that receives more elements.

    Raises
    ------
    SinkError
        The sink is not a `Readable` one, or the bytes could not be read.
    """
    if not isinstance(sink, Readable):
        raise SinkError(
            f"{sink.name} cannot be read while it is written, which a chunk needs that receives more elements after it "
            "was written: give the sink a method read(address, nbytes), write whole chunks, or raise max_memory"
        )
    return sink.read(address, nbytes)
