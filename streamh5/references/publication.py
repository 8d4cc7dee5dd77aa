"""Publish references: a file gets its name once it is complete (`sinks.published_file`), and so does a directory.

::

    target's directory/.XXXX.streamh5/new  ── rename ──▶  target
                                     /old  ◀── rename ──  target          (Parquet with overwrite=True)
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamh5.arguments.paths import LocalPath, local_path, object_url
from streamh5.errors import DestinationExistsError, DestinationMissingError, SpecError
from streamh5.references.kerchunk_parquet import check_pyarrow
from streamh5.references.object_publication import check_references_url, publish_at_url
from streamh5.sinks.destination_path import check_path, real_path
from streamh5.sinks.published_file import folder_beside, publish_file
from streamh5.stores.open_store import check_object_url, refuse_storage_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def check_references_path(
    path: LocalPath,
    *,
    format: str | None = None,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> str:
    """Return the format of references at `path`, or refuse a path to which they cannot be written.

    Raises
    ------
    SpecError
        The format is unknown, the ending of `path` names none, or it is a URL of an unknown kind.
    DestinationExistsError
        `path` exists, and `overwrite` is False or it is not references.
    DestinationMissingError
        The directory of `path` does not exist.
    SinkError
        The store of a URL does not answer.
    MissingCodecError
        Parquet files need pyarrow, which is not installed.
    """
    name = local_path(path)
    url = object_url(name)
    if url is not None:
        check_object_url(url.rstrip("/"))
    suffix = Path(name).suffix
    kind = format or {".json": "json", ".parquet": "parquet", ".parq": "parquet"}.get(suffix)
    if kind not in ("json", "parquet"):
        wrong = f"format must be 'json' or 'parquet', not {format!r}"
        raise SpecError(
            f"references: {wrong if format else f'{name:.200} ends in neither .json nor .parquet'}"
        )
    if kind == "parquet":
        check_pyarrow()
    if url is not None:
        check_references_url(url, kind, overwrite=overwrite, storage_options=storage_options)
        return kind
    check_path(path)
    refuse_storage_options(name, storage_options)
    target = real_path(path)
    if not target.parent.is_dir():
        raise DestinationMissingError(
            f"references: the directory {target.parent} does not exist; create it first",
            path=str(target),
        )
    if os.path.lexists(target) and not (overwrite and is_references(target, kind)):
        raise _exists(target, can_replace=is_references(target, kind))
    return kind


def is_references(path: Path, kind: str) -> bool:
    """Return whether `path` may be replaced by references of that kind."""
    if kind == "json":
        return path.is_file() and not path.is_symlink()
    return (path / ".zmetadata").is_file() and not path.is_symlink()


def publish_references(
    path: LocalPath,
    kind: str,
    write: Callable[[Path], None],
    *,
    overwrite: bool,
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Let `write` create a file or directory, then rename it to `path`, or send it to a URL.

    Parameters
    ----------
    path
        The final path or URL.
    kind
        ``"json"`` or ``"parquet"``.
    write
        Called with the path at which to create it.
    overwrite
        Replace existing references at `path`.
    storage_options
        For a URL.

    Raises
    ------
    DestinationExistsError
        `path` has been created in the meantime.
    SinkError
        The file system or the store reports an error.
    """
    url = object_url(local_path(path))
    if url is not None:
        publish_at_url(url, kind, write, overwrite=overwrite, storage_options=storage_options)
    else:
        _publish_locally(real_path(path), kind, write, overwrite=overwrite)


def _publish_locally(target: Path, kind: str, write: Callable[[Path], None], *, overwrite: bool) -> None:
    with folder_beside(target, "references") as folder:
        new = folder / "new"
        write(new)
        if kind == "json":
            publish_file(new, target, overwrite=overwrite)
        else:
            _publish_directory(new, target, folder / "old", overwrite=overwrite)


def _publish_directory(new: Path, target: Path, old: Path, *, overwrite: bool) -> None:
    if os.path.lexists(target):
        if not overwrite:
            raise _exists(target)
        target.rename(old)  # then it is examined where no other process can replace it
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


def _exists(target: Path, *, can_replace: bool = False) -> DestinationExistsError:
    hint = (
        "pass overwrite=True to replace it"
        if can_replace
        else "it is not references of this format: remove it"
    )
    return DestinationExistsError(f"references: {target} exists; {hint}", path=str(target))
