"""``streamh5 salvage``: make a valid file of an interrupted write."""

from __future__ import annotations

import json
from typing import Any

import streamh5
from streamh5.cli.command import JSON, Command, flag, option, show
from streamh5.cli.storage_options import STORAGE_OPTION


def _salvage(path: str, *, as_json: bool, **options: Any) -> int:
    summary = streamh5.salvage(path, **options)
    show(json.dumps(summary.to_dict()) if as_json else str(summary))
    return 0


SALVAGE = Command(
    _salvage,
    "make a valid file of an interrupted write",
    "Turn what an interrupted write has stored into a valid HDF5 file. A new file is published under a name of its "
    "own, without copying data; what was added to a file becomes part of it. Missing chunks read as the fill value; "
    "attributes named streamh5_... say what is missing. The object of a write to a URL is completed "
    "with what is there.",
    (
        option(
            "path",
            metavar="OUT.h5",
            help="the file, or its partial file (OUT.h5.partial), with the journal in the same directory; of an "
            "object the journal",
        ),
        option(
            "--output",
            metavar="F",
            help="name of the new file, on the same file system (default: OUT.salvaged.h5); of an addition: a copy, "
            "which is salvaged instead of OUT.h5",
        ),
        flag("--overwrite", "replace the object if it exists"),
        STORAGE_OPTION,
        JSON,
    ),
)
