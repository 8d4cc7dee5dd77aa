"""Publish references in an object store: JSON is one object, Parquet one for each file.

An object appears complete or not at all. Of Parquet, ``.zmetadata`` is sent last: without it there are no references.
With ``overwrite=True`` a reader may meanwhile find files of both the old and the new ones.
"""

from __future__ import annotations

import mmap
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamh5.errors import DestinationExistsError, SinkError, StoreError
from streamh5.stores import attempts
from streamh5.stores.open_store import open_store
from streamh5.stores.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_METADATA = ".zmetadata"


def check_references_url(
    url: str, kind: str, *, overwrite: bool, storage_options: Mapping[str, Any] | None
) -> None:
    """Refuse a URL to which references cannot be written.

    Raises
    ------
    SpecError, MissingCodecError
        See `open_store`.
    DestinationExistsError
        There are references, and `overwrite` is False.
    SinkError
        The store does not answer.
    """
    store = open_store(url if kind == "json" else f"{url.rstrip('/')}/{_METADATA}", storage_options)
    try:
        found = attempts.ATTEMPTS.run(store.head)
    except StoreError as error:
        raise SinkError(f"references: {url} cannot be written: {error}", path=url) from error
    if found is not None and not overwrite:
        raise DestinationExistsError(f"references: {url} exists; pass overwrite=True to replace it", path=url)


def publish_at_url(
    url: str,
    kind: str,
    write: Callable[[Path], None],
    *,
    overwrite: bool,
    storage_options: Mapping[str, Any] | None,
) -> None:
    """Let `write` create a file or directory, then send it.

    Parameters
    ----------
    url, kind
        Where to, and ``"json"`` or ``"parquet"``.
    write
        Called with the local path at which to create it.
    overwrite
        Replace existing objects.
    storage_options
        See `open_store`.

    Raises
    ------
    DestinationExistsError
        An object of that name has been created in the meantime.
    SinkError
        The store does not take them.
    """
    with tempfile.TemporaryDirectory(suffix=".streamh5") as folder:
        new = Path(folder, "new")
        write(new)
        files = {url: new}
        if kind == "parquet":
            inside = sorted(path for path in new.rglob("*") if path.is_file() and path.name != _METADATA)
            files = {
                f"{url.rstrip('/')}/{path.relative_to(new).as_posix()}": path
                for path in [*inside, new / _METADATA]
            }
        for there, path in files.items():
            upload = Upload(
                open_store(there, storage_options), token=uuid.uuid4().hex, if_absent=not overwrite
            )
            with (
                path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
                memoryview(content) as view,
            ):
                upload.put(view)
