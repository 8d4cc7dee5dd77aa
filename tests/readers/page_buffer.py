"""HDF5's page buffer as judge: it cannot read a block of metadata that crosses the end of a page."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.deadlock import DEADLOCK_SECONDS

BUFFER_NBYTES = 32 << 20


class CountingFile(io.RawIOBase):
    """A file that notes where it is read."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.reads: list[tuple[int, int]] = []
        self._file = path.open("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, *to: int) -> int:
        return self._file.seek(*to)

    def readinto(self, buffer: Any) -> int:
        self.reads.append((self._file.tell(), len(memoryview(buffer))))
        return self._file.readinto(buffer) or 0

    def close(self) -> None:
        self._file.close()
        super().close()


def page_nbytes(path: Path) -> int | None:
    """The size of the pages of a file as h5py says it, None if it has none."""
    with h5py.File(path) as file:
        plist = file.id.get_create_plist()
        is_paged = plist.get_file_space_strategy()[0] == h5py.h5f.FSPACE_STRATEGY_PAGE
        return int(plist.get_file_space_page_size()) if is_paged else None


@contextmanager
def buffered(path: Path) -> Iterator[h5py.File]:
    with h5py.File(path, page_buf_size=BUFFER_NBYTES) as file:
        yield file


_READ = """
import sys, h5py
path, page_buffer, *names = sys.argv[1:]
for name in names:
    with h5py.File(path, page_buf_size=int(page_buffer)) as file:
        try:
            file[name][()]
        except OSError:
            print(name)
"""


def refused_by_page_buffer(path: Path, names: list[str]) -> set[str]:
    """Return which datasets HDF5 cannot read with a page buffer.

    It leaves memory as it is where a block has not been read: in this process, which has written the block, that may
    have the right bytes by chance.
    """
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(path), str(BUFFER_NBYTES), *names],
        env={**os.environ, "MALLOC_PERTURB_": "165"},
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
        check=True,
    )
    return set(done.stdout.split())


def everything(group: h5py.Group) -> dict[str, Any]:
    """Every value and attribute below a group."""
    found: dict[str, Any] = {f"@{name}": _plain(value) for name, value in group.attrs.items()}
    for name, node in group.items():
        if isinstance(node, h5py.Group):
            found[name] = everything(node)
        else:
            found[name] = _plain(node[()]), {key: _plain(value) for key, value in node.attrs.items()}
    return found


def assert_paged(path: Path, size: int | None = None) -> None:
    """Assert that a page buffer reads all that is read without it."""
    found = page_nbytes(path)
    assert found is not None
    assert size in (None, found)
    with h5py.File(path) as plain, buffered(path) as file:
        np.testing.assert_equal(everything(file), everything(plain))


def _plain(value: Any) -> Any:
    """A value that can be compared: references of two open files never are equal."""
    return repr(value.tolist()) if isinstance(value, np.ndarray) and value.dtype.hasobject else value
