"""A file with a user block: bytes of other programs in front of the superblock, as in MATLAB's ``.mat`` files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from streamh5.format.superblock import decode_superblock, encode_superblock
from streamh5.handles.destination import open_local

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from streamh5.arguments.write_options import WriteOptions
    from streamh5.sinks.base import Buffer

__all__ = ["UserBlockSink"]


class UserBlockSink:
    """Put a user block in front of a file: all addresses count from its end.

    There is no journal, so an interrupted write is dropped. State, locks and errors are those of the
    `LocalFileSink` behind it.

    Parameters
    ----------
    path, options
        As for `open_local`; nothing is resumed.
    user_block
        Its bytes: 512, 1024, 2048 and so on.

    Raises
    ------
    SinkError
        See `LocalFileSink`.
    """

    def __init__(self, path: str | os.PathLike[str], user_block: bytes, options: WriteOptions) -> None:
        self._sink, _ = open_local(path, options)
        self._user_block = user_block

    @property
    def name(self) -> str:
        """What a message calls the destination."""
        return self._sink.name

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Put buffers behind the user block."""
        base = len(self._user_block)
        if address == 0:  # nothing but the superblock lies there
            written = decode_superblock(b"".join(bytes(part) for part in buffers))
            moved = replace(written, end_of_file=written.end_of_file + base, base_address=base)
            buffers = [encode_superblock(moved)]
        self._sink.write(base + address, buffers)

    def commit(self, nbytes: int) -> None:
        """Write the user block and publish the file."""
        self._sink.write(0, [self._user_block])
        self._sink.commit(nbytes + len(self._user_block))

    def abort(self) -> None:
        """Drop what was written."""
        self._sink.abort()
