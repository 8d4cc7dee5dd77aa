"""The narrow protocol between a writer and the place where its bytes go.

=========== ==========================================================================
call        promise
=========== ==========================================================================
write       positional, any order, thread-safe; ranges that are written do not overlap
append_log  entries of the journal, never before the data that they claim
commit      everything written is durable, then the destination has its name
suspend     what is written is kept, to be resumed; where the sink can
abort       nothing remains of the write; the destination is as it was; never raises
=========== ==========================================================================

After `commit`, `suspend` or `abort` a `write` is a `StateError`: a worker that finishes late cannot
touch the published file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    Buffer: TypeAlias = bytes | bytearray | memoryview | NDArray[np.uint8]

__all__ = ["Sink"]


class Sink(Protocol):
    """A destination for the bytes of one file."""

    @property
    def name(self) -> str:
        """What a message calls the destination."""

    @property
    def keeps_journal(self) -> bool:
        """Whether `append_log` keeps what it gets."""

    @property
    def journal_facts(self) -> dict[str, Any]:
        """What the journal says of its files; empty where there is none."""

    @property
    def sync(self) -> str:
        """When the journal waits for the disk: ``"close"``, ``"batch"`` or ``"none"``."""

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Put `buffers`, one after the other, at `address`.

        Raises
        ------
        SinkError, OSError
            The bytes could not be written.
        StateError
            After `commit` or `abort`.
        """

    def has_name(self, path: str | os.PathLike[str]) -> bool:
        """Whether what is written has the name `path` in the file system."""

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

    def commit(self, nbytes: int) -> None:
        """Make the `nbytes` of the file durable and publish it under its name."""

    def snapshot(self, path: Path) -> None:
        """Let readers see, at `path`, what the superblock names that has been written.

        Raises
        ------
        SinkError
            The sink cannot do that.
        """

    def suspend(self) -> None:
        """Stop and keep what is written where it can be resumed; otherwise as `abort`."""

    def abort(self) -> None:
        """Give up: remove what was written. Safe to call at any time, also twice."""
