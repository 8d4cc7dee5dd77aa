"""``streamh5 abort-upload``: remove, or list, uploads to an object store that nobody completes."""

from __future__ import annotations

from typing import Any

import streamh5
from streamh5.cli.command import Command, flag, option
from streamh5.cli.storage_options import STORAGE_OPTION


def _abort_upload(url: str, *, storage_options: dict[str, Any] | None, only_list: bool) -> int:
    if only_list:
        from streamh5.stores.open_store import open_store
        from streamh5.stores.pending_uploads import pending_uploads

        for pending in pending_uploads(open_store(url, storage_options)):
            print(f"{pending.began or '-':<25}  {pending.upload}")
        return 0
    for upload in streamh5.abort_upload(url, storage_options):
        print(upload)
    return 0


ABORT_UPLOAD = Command(
    _abort_upload,
    "remove what interrupted writes have left in an object store",
    "Remove the uploads of an object that were neither completed nor aborted, and print their ids. They are left by "
    "writes whose process or machine died, cost money, and are seen in no listing of objects. An object of that name "
    "stays as it is; a write to it that goes on fails.",
    (
        option("url", metavar="URL"),
        STORAGE_OPTION,
        flag(
            "--list",
            "print when each began (UTC, - if the store does not tell) and its id, and remove nothing",
            dest="only_list",
        ),
    ),
)
