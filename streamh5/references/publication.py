"""References get their name when they are complete: a file or a directory that is made out of sight.

They are written in a directory of their own beside the target, of a name that nobody has and which only
their owner can enter, so that no file of another program is written to or removed on the way.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from streamh5.errors import DestinationExistsError, SinkError
from streamh5.sinks.replaced_file import ReplacedFile

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_references", "publish_references"]


def is_references(path: Path, kind: str) -> bool:
    """Tell whether what is there is what references of that kind may replace."""
    if kind == "json":
        return path.is_file() and not path.is_symlink()
    return (path / ".zmetadata").is_file() and not path.is_symlink()


def publish_references(target: Path, kind: str, write: Callable[[Path], None], *, overwrite: bool) -> None:
    """Let `write` make a file or directory, then give it the name `target`.

    Parameters
    ----------
    target
        The name, links followed.
    kind
        ``"json"`` or ``"parquet"``.
    write
        Is given the name under which it is to make it.
    overwrite
        Replace references of the name `target`.

    Raises
    ------
    DestinationExistsError
        Something else has that name by now.
    SinkError
        It cannot be written.
    """
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=".", suffix=".streamh5", dir=target.parent))
        new = folder / "new"
        write(new)
        if kind == "json":
            _publish_file(new, target, overwrite=overwrite)
        else:
            _publish_directory(new, target, folder / "old", overwrite=overwrite)
    except SinkError:
        raise
    except OSError as error:
        failure = SinkError(f"references: {target} cannot be written: {error.strerror}", path=str(target))
        failure.errno = error.errno
        raise failure from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _publish_file(new: Path, target: Path, *, overwrite: bool) -> None:
    if not overwrite:
        try:
            os.link(new, target)  # unlike rename, it fails when there is a file
            return
        except FileExistsError:
            raise _exists(target) from None
        except OSError as error:  # no hard links here
            if os.path.lexists(target):
                raise _exists(target) from error
    replaced = ReplacedFile(target, os)
    try:
        with new.open("rb") as file:
            replaced.hand_on(file.fileno())
            replaced.finish(file.fileno())
        new.replace(target)
    finally:
        replaced.close()


def _publish_directory(new: Path, target: Path, old: Path, *, overwrite: bool) -> None:
    if os.path.lexists(target):
        if not overwrite:
            raise _exists(target)
        target.rename(old)  # looked at where nobody else can replace it
        if not is_references(old, "parquet"):
            old.rename(target)
            raise _exists(target)
        new.chmod(stat.S_IMODE(old.stat().st_mode) & 0o777)
    try:
        new.rename(target)
    except BaseException:
        if os.path.lexists(old):
            old.rename(target)
        raise


def _exists(target: Path) -> DestinationExistsError:
    return DestinationExistsError(
        f"references: {target} exists; it is not what would be replaced: remove it", path=str(target)
    )
