"""Uploads that were neither completed nor aborted: of writes whose process died without a journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.arguments.keywords import check_keywords
from streamh5.errors import SinkError, StoreError
from streamh5.stores import attempts
from streamh5.stores.open_store import open_store
from streamh5.stores.upload import remove_upload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamh5.stores.base import ObjectStore, PendingUpload


@check_keywords
def abort_upload(url: str, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """Remove the uploads of an object that were neither completed nor aborted.

    They are left by writes whose process or machine died, cost money, and are seen in no listing of objects. An object
    of that name stays as it is. A write to `url` that goes on fails; an interrupted one cannot be resumed any more.

    Parameters
    ----------
    url
        The object: ``s3://bucket/name`` and the like.
    storage_options
        As for fsspec's file system of that protocol.

    Returns
    -------
    list of str
        The ids of the uploads that were removed; the store has given them.

    Raises
    ------
    SinkError
        The store does not answer, or refuses; the message names the first upload that is left.

    Examples
    --------
    >>> streamh5.abort_upload("memory://bucket/run1.h5")  # or "s3://bucket/run1.h5"
    []
    """
    store = open_store(url, storage_options)
    removed: list[str] = []
    failures: list[tuple[str, StoreError]] = []
    for pending in pending_uploads(store):
        try:
            remove_upload(store, pending.upload)
            removed.append(pending.upload)
        except StoreError as error:
            failures.append((pending.upload, error))
    if failures:
        upload, first = failures[0]
        raise SinkError(
            f"{len(failures)} of {len(failures) + len(removed)} uploads of {store.url} may be left: {first}",
            path=store.url,
            upload=upload,
        ) from first
    return removed


def pending_uploads(store: ObjectStore) -> list[PendingUpload]:
    """Return the uploads of an object that were neither completed nor aborted.

    Raises
    ------
    SinkError
        The store does not answer, or does not let the user list them.
    """
    try:
        return attempts.ATTEMPTS.run(store.list_uploads)
    except StoreError as error:
        raise SinkError(f"the uploads of {store.url} cannot be listed: {error}", path=store.url) from error
