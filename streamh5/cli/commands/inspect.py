"""``streamh5 inspect``: show what a file holds and where it lies."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

from streamh5.arguments.paths import local_path, object_url
from streamh5.cli.command import JSON, Command, flag, option, report_error, show
from streamh5.cli.storage_options import STORAGE_OPTION
from streamh5.errors import SpecError, StreamH5Error, printable_lines


def _inspect(
    file: list[str],
    *,
    as_json: bool,
    html: bool,
    output: str | None,
    overwrite: bool,
    cloud: bool,
    **options: Any,
) -> int:
    if html and (as_json or cloud):
        raise SpecError("inspect --html writes a page; leave --json and --cloud out")
    if (output is not None or overwrite) and not html:
        raise SpecError("inspect --output and --overwrite are about the page of --html; add --html")
    if len(file) > 1 and not cloud:
        raise SpecError(
            "inspect shows one file; of several, --cloud tells whether they are right for object stores"
        )
    from streamh5.check.inspect_file import inspect

    if html:
        return _show_page(file[0], output, overwrite=overwrite, **options)
    width = min(120, max(80, shutil.get_terminal_size((100, 24)).columns))
    if len(file) > 1:
        return _judge_all(file, width, as_json=as_json, **options)
    found = inspect(file[0], **options)
    report = found.cloud() if cloud else None
    shown = found if report is None else report
    show(json.dumps(shown.to_dict(), indent=2) if as_json else shown.render(width))
    return 1 if found.damaged or (report is not None and not report.ok) else 0


def _judge_all(paths: list[str], width: int, *, as_json: bool, **options: Any) -> int:
    """Show of each file whether it is right for object stores, then what is not right in which; return the status."""
    from streamh5.check.cloud_report import headline, overview
    from streamh5.check.inspect_file import inspect

    reports, status = [], 0
    for path in paths:
        try:
            found = inspect(path, **options)
        except StreamH5Error as error:
            status = max(status, report_error(error, INSPECT))
            continue
        report = found.cloud()
        reports.append(report)
        status = max(status, 1 if found.damaged or not report.ok else 0)
        if not as_json:
            show(headline(report))
    if as_json:
        show(json.dumps([one.to_dict() for one in reports], indent=2))
    else:
        show(printable_lines(overview(reports, width)))
    return status


def _show_page(file: str, output: str | None, *, overwrite: bool, **options: Any) -> int:
    from streamh5.check.inspect_file import inspect

    if output is not None:
        _check_output(output, file, overwrite=overwrite)
    found = inspect(file, **options)
    _write_page(found.to_html(), output, overwrite=overwrite)
    return 1 if found.damaged else 0


def _check_output(output: str, file: str, *, overwrite: bool) -> None:
    """Refuse to write the page to an object store, over the file that it is about, or where it cannot be written."""
    if object_url(output) is not None:
        raise SpecError("inspect --output is a local path; without it the page goes to the standard output")
    if object_url(file) is None and os.path.exists(output) and os.path.samefile(output, local_path(file)):
        raise SpecError(
            f"{output} is the inspected file itself; choose another name for the page", path=output
        )
    from streamh5.sinks.destination_path import check_destination

    check_destination(output, overwrite=overwrite)


def _write_page(page: str, output: str | None, *, overwrite: bool) -> None:
    """Write a page to a file, which appears when it is complete, or to the standard output.

    It is in ASCII, which every encoding has.
    """
    text = page.encode("ascii", "xmlcharrefreplace")
    if output is None:
        show(text.decode())
        return
    from streamh5.sinks.destination_path import real_path
    from streamh5.sinks.published_file import folder_beside, publish_file

    target = real_path(output)
    with folder_beside(target, "the page") as folder:
        new = folder / "new"
        new.write_bytes(text)
        publish_file(new, target, overwrite=overwrite)


INSPECT = Command(
    _inspect,
    "show what a file holds and where it lies; tell whether it is right for object stores",
    "Show datasets, shapes, chunk indexes, filters and sizes, and a map of the file. No data is read. Exit status: 0 "
    "success, 1 the file is damaged (what is left of it is shown), or --cloud finds it not right, 2 it cannot be read; "
    "of several files the highest.",
    (
        option("file", nargs="+", metavar="FILE", help="a path or a URL; with --cloud any number of them"),
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
