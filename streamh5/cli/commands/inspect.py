"""``streamh5 inspect``: show what a file holds and where it lies."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

from streamh5.arguments.paths import local_path, object_url
from streamh5.cli.command import FILE, JSON, Command, flag, option, show
from streamh5.cli.storage_options import STORAGE_OPTION
from streamh5.errors import DestinationExistsError, SinkError, SpecError


def _inspect(
    file: str, *, as_json: bool, html: bool, output: str | None, overwrite: bool, cloud: bool, **options: Any
) -> int:
    from streamh5.check.inspect_file import inspect

    if html and (as_json or cloud):
        raise SpecError("inspect --html writes a page; leave --json and --cloud out")
    if (output is not None or overwrite) and not html:
        raise SpecError("inspect --output and --overwrite are about the page of --html; add --html")
    if output is not None:
        _check_output(output, file)
    found = inspect(file, **options)
    if html:
        _write_page(found.to_html(), output, overwrite=overwrite)
        return 1 if found.damaged else 0
    report = found.cloud() if cloud else None
    shown = found if report is None else report
    width = min(120, max(80, shutil.get_terminal_size((100, 24)).columns))
    show(json.dumps(shown.to_dict(), indent=2) if as_json else shown.render(width))
    return 1 if found.damaged or (report is not None and not report.ok) else 0


def _check_output(output: str, file: str) -> None:
    """Refuse to write the page to an object store, or over the file that it is about."""
    if object_url(output) is not None:
        raise SpecError("inspect --output is a local path; without it the page goes to the standard output")
    if object_url(file) is None and os.path.exists(output) and os.path.samefile(output, local_path(file)):
        raise SpecError(
            f"{output} is the inspected file itself; choose another name for the page", path=output
        )


def _write_page(page: str, output: str | None, *, overwrite: bool) -> None:
    """Write a page to a file, or to the standard output, in ASCII, which every encoding has."""
    text = page.encode("ascii", "xmlcharrefreplace")
    if output is None:
        show(text.decode())
        return
    try:
        with open(output, "wb" if overwrite else "xb") as file:
            file.write(text)
    except FileExistsError as error:
        raise DestinationExistsError(
            f"{output} exists; choose another name, or pass --overwrite", path=output
        ) from error
    except OSError as error:
        raise SinkError(f"{output} cannot be written: {error.strerror}", path=output) from error


INSPECT = Command(
    _inspect,
    "show what a file holds and where it lies; tell whether it is right for object stores",
    "Show datasets, shapes, chunk indexes, filters and sizes, and a map of the file. No data is read. Exit status: 0 "
    "success, 1 the file is damaged (what is left of it is shown), or --cloud finds it not right, 2 it cannot be read.",
    (
        FILE,
        JSON,
        flag(
            "--html",
            "write a page with the map of the file, its tree and pictures of its chunks, which needs nothing else",
        ),
        option("--output", metavar="OUT.html", help="where --html writes (default: standard output)"),
        flag("--overwrite", "replace OUT.html if it exists"),
        flag(
            "--cloud",
            "tell whether the file is right for object stores: requests to open it, sizes of chunks and more, with "
            "advice",
        ),
        STORAGE_OPTION,
    ),
    judges=True,
)
