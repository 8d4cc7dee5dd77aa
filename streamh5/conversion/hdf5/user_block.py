"""A file with a user block: bytes of other programs in front of the superblock, as in MATLAB's ``.mat`` files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.errors import StateError
from streamh5.format.superblock import Superblock, encode_superblock
from streamh5.handles.destination import open_local
from streamh5.reader.superblock import decode_superblock

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from streamh5.arguments.write_options import WriteOptions
    from streamh5.sinks.base import Buffer

__all__ = ["UserBlockSink"]


class UserBlockSink:
    """Put a user block in front of a file: all addresses count from its end.

    There is no journal: what is interrupted is dropped.

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

    keeps_journal = False

    @property
    def journal_facts(self) -> dict[str, Any]:
        """Say nothing in a journal."""
        return {}

    @property
    def name(self) -> str:
        """What a message calls the destination."""
        return self._sink.name

    @property
    def sync(self) -> str:
        """When the file waits for the disk."""
        return self._sink.sync

    def has_name(self, path: str | os.PathLike[str]) -> bool:
        """Whether the file has the name `path`."""
        return self._sink.has_name(path)

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Put buffers behind the user block."""
        base = len(self._user_block)
        if address == 0:  # nothing but the superblock lies there
            written = decode_superblock(b"".join(bytes(part) for part in buffers))
            moved = Superblock(
                written.end_of_file + base, written.root_address, base, version=written.version
            )
            buffers = [encode_superblock(moved)]
        self._sink.write(base + address, buffers)

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        """Keep no journal."""

    def commit(self, nbytes: int) -> None:
        """Write the user block and publish the file."""
        self._sink.write(0, [self._user_block])
        self._sink.commit(nbytes + len(self._user_block))

    def snapshot(self, path: Path) -> None:
        """Refuse to show an unfinished file."""
        raise StateError(f"{path}: a file with a user block has no snapshots")

    def suspend(self) -> None:
        """Drop what was written."""
        self._sink.abort()

    def abort(self) -> None:
        """Drop what was written."""
        self._sink.abort()
