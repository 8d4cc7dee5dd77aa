"""``streamh5 inspect``: show what a file holds and where it lies."""

from __future__ import annotations

import json
import shutil
from typing import Any

from streamh5.cli.command import FILE, JSON, Command, show
from streamh5.cli.storage_options import STORAGE_OPTION


def _inspect(file: str, *, as_json: bool, **options: Any) -> int:
    from streamh5.check.inspection import inspect

    found = inspect(file, **options)
    width = min(120, max(80, shutil.get_terminal_size((100, 24)).columns))
    show(json.dumps(found.to_dict(), indent=2) if as_json else found.render(width))
    return 1 if found.damaged else 0


INSPECT = Command(
    _inspect,
    "show what a file holds and where it lies",
    "Show datasets, shapes, chunk indexes, filters and sizes, and a map of the file. No data is read. Exit status: 0 "
    "success, 1 the file is damaged (what is left of it is shown), 2 it cannot be read.",
    (
        FILE,
        JSON,
        STORAGE_OPTION,
    ),
    judges=True,
)
