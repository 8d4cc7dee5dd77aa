"""``streamh5 inspect``: show what a file holds and where it lies."""

from __future__ import annotations

import json
import shutil
from typing import Any

from streamh5.cli.command import FILE, JSON, Command, flag, show
from streamh5.cli.storage_options import STORAGE_OPTION


def _inspect(file: str, *, as_json: bool, cloud: bool, **options: Any) -> int:
    from streamh5.check.inspect_file import inspect

    found = inspect(file, **options)
    report = found.cloud() if cloud else None
    shown = found if report is None else report
    width = min(120, max(80, shutil.get_terminal_size((100, 24)).columns))
    show(json.dumps(shown.to_dict(), indent=2) if as_json else shown.render(width))
    return 1 if found.damaged or (report is not None and not report.ok) else 0


INSPECT = Command(
    _inspect,
    "show what a file holds and where it lies; tell whether it is right for object stores",
    "Show datasets, shapes, chunk indexes, filters and sizes, and a map of the file. No data is read. Exit status: 0 "
    "success, 1 the file is damaged (what is left of it is shown), or --cloud finds it not right, 2 it cannot be read.",
    (
        FILE,
        JSON,
        flag(
            "--cloud",
            "tell whether the file is right for object stores: requests to open it, sizes of chunks and more, with "
            "advice",
        ),
        STORAGE_OPTION,
    ),
    judges=True,
)
