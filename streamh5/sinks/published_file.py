"""A small file that gets its name once it is complete: references, pages.

    target's directory/.XXXX.streamh5/new  ── link or rename ──▶  target      (a new folder only its owner can enter)

No file of another program is overwritten or removed on the way, since only this process knows the folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from streamh5.errors import SinkError
from streamh5.sinks.destination_path import exists_error
from streamh5.sinks.replaced_file import ReplacedFile

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def folder_beside(target: Path, what: str) -> Iterator[Path]:
    """Yield a new folder in the directory of `target`, which is removed at the end.

    Raises
    ------
    SinkError
        The file system reports an error, there or in the block; the message calls the file `what`.
    """
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=".", suffix=".streamh5", dir=target.parent))
        yield folder
    except SinkError:
        raise
    except OSError as error:
        failure = SinkError(f"{what}: {target} cannot be written: {error.strerror}", path=str(target))
        failure.errno = error.errno
        raise failure from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def publish_file(new: Path, target: Path, *, overwrite: bool) -> None:
    """Give a complete file its name; it gets owner and permissions of a file that it replaces.

    Raises
    ------
    DestinationExistsError
        There is a file of that name, which must not be replaced.
    OSError
        The file system reports an error.
    """
    if not overwrite:
        try:
            os.link(new, target)  # unlike rename, it fails if the target exists
            return
        except FileExistsError:
            raise exists_error(target) from None
        except OSError as error:  # a file system without hard links
            if os.path.lexists(target):
                raise exists_error(target) from error
    replaced = ReplacedFile(target, os)
    try:
        with new.open("rb") as file:
            replaced.hand_on(file.fileno())
            replaced.finish(file.fileno())
        new.replace(target)
    finally:
        replaced.close()
