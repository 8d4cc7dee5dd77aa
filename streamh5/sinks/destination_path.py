"""What can be a destination, and the checks of one before any work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias, TypeGuard

from streamh5.arguments.paths import LocalPath, local_path, object_url
from streamh5.errors import DestinationExistsError, DestinationMissingError, SinkError, SpecError
from streamh5.sinks import files
from streamh5.sinks.base import Sink

if TYPE_CHECKING:
    pass

Destination: TypeAlias = LocalPath | Sink | IO[bytes]
"""Where a file is written: a path, the URL of an object, a sink, or a binary file object."""


def is_path(destination: object) -> TypeGuard[LocalPath]:
    """Tell whether a destination is a path, not a URL, a `Sink` or a file object."""
    return isinstance(destination, (str, bytes, os.PathLike)) and destination_url(destination) is None


def destination_url(destination: object) -> str | None:
    """Return the URL of a destination that is an object of an object store; None for any other."""
    if not isinstance(destination, (str, bytes, os.PathLike)):
        return None
    return object_url(os.fsdecode(destination))


def is_sink(destination: object) -> TypeGuard[Sink]:
    """Tell whether a destination is a `Sink`, not a file object: those of fsspec have a ``commit`` of their own."""
    return hasattr(destination, "commit") and hasattr(destination, "abort")


def destination_name(destination: Destination) -> str:
    """Return the name of a destination for messages."""
    if is_path(destination):
        return local_path(destination)
    url = destination_url(destination)
    if url is not None:
        return url
    name = getattr(destination, "name", None)
    return name if isinstance(name, str) else f"<{type(destination).__name__}>"


def check_path(destination: object) -> None:
    """Refuse a destination that is not a local path, a URL, a `Sink` or a file object.

    Raises
    ------
    SpecError
        It is of another type, a URL that cannot be written, or a path with a NUL character.
    """
    url = destination_url(destination)
    if url is not None:
        from streamh5.stores.open_store import check_object_url  # few writes need it

        check_object_url(url)
        return
    if not is_path(destination):
        if is_sink(destination) or hasattr(destination, "write"):
            return
        raise SpecError(
            f"a destination must be a path (str, bytes or PathLike), a binary file object or a Sink, not "
            f"{destination!r:.80}"
        )
    name = local_path(destination)
    if "\0" in name:
        raise SpecError(
            f"the path {name!r:.80} contains a NUL character, which is not allowed in a file name"
        )


def real_path(path: LocalPath) -> Path:
    """Return the absolute path of a destination, following symbolic links."""
    return Path(os.path.realpath(local_path(path)))


def destination_exists(path: LocalPath) -> bool:
    """Tell whether a destination exists; a symbolic link to a missing file counts as a new file.

    Raises
    ------
    SpecError, SinkError
        See `check_destination`.
    """
    check_destination(path, overwrite=True)
    return files.stat_of(real_path(path)) is not None


def check_destination(path: LocalPath, *, overwrite: bool) -> None:
    """Refuse a path that cannot be written, before any work.

    Raises
    ------
    SpecError
        See `check_path`.
    DestinationExistsError
        The destination exists and `overwrite` is False.
    DestinationMissingError
        Its directory does not exist.
    SinkError
        It is not a regular file, or its directory cannot be written.
    """
    check_path(path)
    real = real_path(path)
    try:
        if not real.parent.is_dir():
            raise DestinationMissingError(
                f"cannot write {real}: the directory {real.parent} does not exist; create it first",
                path=str(real),
            )
        exists = files.check_regular(real) is not None
    except SinkError:
        raise
    except OSError as error:
        raise SinkError(f"cannot write {real}: {error.strerror}", path=str(real)) from error
    if exists and not overwrite:
        raise exists_error(real)
    if not os.access(real.parent, os.W_OK):
        raise SinkError(f"cannot write {real}: no permission to write in {real.parent}", path=str(real))


def exists_error(path: Path) -> DestinationExistsError:
    """Return the error for an existing destination that must not be replaced."""
    return DestinationExistsError(
        f"{path} exists; pass overwrite=True (File: mode 'w') to replace it, or choose another name",
        path=str(path),
    )
