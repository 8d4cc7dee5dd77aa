"""The narrow protocol between a writer and the place where its bytes go.

======== =========================================================================
call     promise
======== =========================================================================
write    positional, any order, thread-safe; ranges that are written do not overlap
commit   everything written is durable, then the destination has its name
abort    nothing remains of the write; the destination is as it was; never raises
======== =========================================================================

After `commit` or `abort` a `write` is a `StateError`: a worker that finishes late cannot touch the
published file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
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
