"""The command line: one function for each command.

A command is a function of its options, decorated with `_command`, which adds it to `COMMANDS`; it returns the exit
status. It imports what it needs when it runs, so that ``--help`` and small commands start quickly.

Exit status: 0 success, 1 the command found a problem, 2 an error of streamh5 or of the arguments, 130 interrupted,
141 the reader of the output has closed it (the status of a program that is ended by SIGPIPE).
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import streamh5
from streamh5.arguments.paths import object_url
from streamh5.cli.option_values import read_chunks, read_compression, read_n_jobs, read_nbytes
from streamh5.cli.storage_options import STORAGE_OPTION
from streamh5.cli.uploads import ABORT_UPLOAD
from streamh5.errors import (
    ForeignStructureError,
    FormatError,
    SpecError,
    StreamH5Error,
    UnreadableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Option = tuple[tuple[str, ...], dict[str, Any]]
    Run = TypeVar("Run", bound=Callable[..., int])


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of writing to the standard output that are reported without a traceback."""


class Command(NamedTuple):
    """A command: its function, the texts of ``--help``, the arguments of each ``add_argument``.

    `judges`: exit status 1 if the file that it reads is damaged.
    """

    run: Callable[..., int]
    summary: str
    description: str
    options: tuple[Option, ...] = ()
    judges: bool = False


COMMANDS: dict[str, Command] = {}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    argv
        Arguments without the name of the program; those of the process by default.
    """
    if sys.stdout is None:  # closed by the caller: the exit status still counts
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the end of the process
    options = vars(_parser().parse_args(argv))
    command: Command = options.pop("command")
    try:
        status = command.run(**options)
        sys.stdout.flush()
        return status
    except StreamH5Error as error:
        print(f"streamh5: {_with_options(str(error))}", file=sys.stderr)
        return 1 if command.judges and _is_damage(error) else 2
    except BrokenPipeError:
        _drop_output()
        return 141
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _drop_output()
        print(f"streamh5: the output cannot be written: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("streamh5: interrupted", file=sys.stderr)
        return 130


def _is_damage(error: StreamH5Error) -> bool:
    """Return whether an error means that a file is damaged, not that it is unreadable or of an unknown structure."""
    return isinstance(error, FormatError) and not isinstance(error, (ForeignStructureError, UnreadableError))


def _with_options(message: str) -> str:
    """Replace keywords in a message by the options of the command line."""
    return re.sub(r"\b(overwrite|skip)=True\b( \(File: mode 'w'\))?", r"--\1", message)


def _drop_output() -> None:
    """Send what is still buffered to ``/dev/null``, or the interpreter would try to write it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _show(text: str) -> None:
    """Print `text`, with ``?`` for characters that the terminal does not have."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="streamh5", description="Write arrays larger than memory into one ordinary HDF5 file."
    )
    parser.add_argument("--version", action="version", version=f"streamh5 {streamh5.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        own = commands.add_parser(name, help=command.summary, description=command.description)
        own.set_defaults(command=command)
        for names, settings in command.options:
            own.add_argument(*names, **settings)
    return parser


def _command(summary: str, description: str, *options: Option, judges: bool = False) -> Callable[[Run], Run]:
    """Add a function to `COMMANDS` under its own name."""

    def add(run: Run) -> Run:
        COMMANDS[run.__name__.removeprefix("_")] = Command(run, summary, description, options, judges)
        return run

    return add


def _option(*names: str, **settings: Any) -> Option:
    return names, settings


def _flag(name: str, text: str, *, action: str = "store_true", **settings: Any) -> Option:
    return _option(name, action=action, help=text, **settings)


FILE = _option("file", metavar="FILE", help="a path or a URL")
JSON = _flag("--json", "print the result as JSON", dest="as_json")
OVERWRITE = _flag("--overwrite", "replace OUT if it exists")
SAFE = _flag("--safe", "let the HDF5 library read in a child process: for files that are not trusted")


@_command(
    "stream an array several times larger than its memory into a file, and check it",
    "Stream a lazily computed array, several times larger than the memory that is allowed, into one HDF5 file; then "
    "read it with h5py and compare values with the array.",
    _option("out", nargs="?", metavar="OUT", help="keep the file here; by default it is removed at the end"),
    _option("--size", type=read_nbytes, default="2GiB", help="size of the array (default: %(default)s)"),
    _option(
        "--memory",
        type=read_nbytes,
        default="256MiB",
        help="memory allowed in addition to that of the interpreter and its imports (default: %(default)s)",
    ),
    OVERWRITE,
)
def _demo(out: str | None, *, size: int, memory: int, overwrite: bool) -> int:
    from streamh5.cli.demo import run_demo

    return 0 if run_demo(out, size_nbytes=size, memory_nbytes=memory, overwrite=overwrite) else 1


@_command(
    "check every structure, checksum and chunk of a file",
    "Check superblock, object headers, chunk indexes and their checksums with streamh5's own reader, compare the "
    "chunk maps with those that h5py sees, and decode every chunk. Exit status: 0 the file is good, 1 it is damaged, "
    "2 it or parts of it cannot be checked.",
    FILE,
    JSON,
    _flag("--no-data", "check metadata only, decode no chunk", dest="data", action="store_false"),
    _flag(
        "--no-h5py", "do not show the file to h5py: for hostile files", dest="with_h5py", action="store_false"
    ),
    _flag(
        "--no-checksum",
        "do not compare an object with the checksum of its store, for which it is read once more",
        dest="checksum",
        action="store_false",
    ),
    SAFE,
    _option(
        "--jobs",
        type=read_n_jobs,
        metavar="N",
        help="threads (default: one per processor; for a URL at least 8)",
    ),
    STORAGE_OPTION,
    judges=True,
)
def _verify(file: str, *, as_json: bool, **options: Any) -> int:
    from streamh5.check.verify import verify

    report = verify(file, **options)
    _show(json.dumps(report.to_dict(), indent=2) if as_json else repr(report))
    if report.damaged:
        return 1
    return 0 if report.complete else 2


@_command(
    "show what a file holds and where it lies",
    "Show datasets, shapes, chunk indexes, filters and sizes, and a map of the file. No data is read. Exit status: 0 "
    "success, 1 the file is damaged (what is left of it is shown), 2 it cannot be read.",
    FILE,
    JSON,
    STORAGE_OPTION,
    judges=True,
)
def _inspect(file: str, *, as_json: bool, **options: Any) -> int:
    from streamh5.check.inspection import inspect

    found = inspect(file, **options)
    width = min(120, max(80, shutil.get_terminal_size((100, 24)).columns))
    _show(json.dumps(found.to_dict(), indent=2) if as_json else found.render(width))
    return 1 if found.damaged else 0


@_command(
    "make a valid file of an interrupted write",
    "Turn what an interrupted write has stored into a valid HDF5 file. A new file is published under a name of its "
    "own, without copying data; what was added to a file becomes part of it. Missing chunks read as the fill value; "
    "attributes named streamh5_... say what is missing. The object of a write to a URL is completed "
    "with what is there.",
    _option(
        "path",
        metavar="OUT.h5",
        help="the file, or its partial file (OUT.h5.partial), with the journal in the same directory; of an object the "
        "journal",
    ),
    _option(
        "--output",
        metavar="F",
        help="name of the new file, on the same file system (default: OUT.salvaged.h5); of an addition: a copy, "
        "which is salvaged instead of OUT.h5",
    ),
    _flag("--overwrite", "replace the object if it exists"),
    STORAGE_OPTION,
    JSON,
)
def _salvage(path: str, *, as_json: bool, **options: Any) -> int:
    summary = streamh5.salvage(path, **options)
    _show(json.dumps(summary.to_dict()) if as_json else str(summary))
    return 0


@_command(
    "write references to the chunks of a file, for readers of zarr",
    "Write references to the chunks of any HDF5 file in kerchunk's form: with them xarray and zarr read the file "
    "through fsspec as if it were a zarr store. No data is copied.",
    FILE,
    _option(
        "--output",
        metavar="OUT",
        help="a .json file or a .parquet directory, path or URL (default: JSON to standard output)",
    ),
    _option("--format", choices=("json", "parquet"), help="default: by the suffix of OUT"),
    _option("--url", help="where readers will find FILE (default: its URL or absolute path)"),
    _option(
        "--inline",
        type=read_nbytes,
        default=0,
        metavar="N",
        help="store the values of datasets of one chunk in the references if they have at most N bytes",
    ),
    _flag("--skip", "leave out datasets that references cannot express, and report which"),
    OVERWRITE,
    SAFE,
    STORAGE_OPTION,
)
def _references(file: str, *, output: str | None, url: str | None, safe: bool, **options: Any) -> int:
    if output is None and options["format"] == "parquet":
        raise SpecError(
            "references --format parquet writes a directory of files; name it: --output OUT.parquet"
        )
    storage_options = options.pop("storage_options")
    # each function refuses options for a local path
    to_url = storage_options if output is not None and object_url(output) is not None else None
    from_url = None if to_url and object_url(file) is None else storage_options
    found = streamh5.read_references(file, url=url, safe=safe, storage_options=from_url)
    made = found.to_kerchunk(output, storage_options=to_url, **options)
    if made is not None:
        print(json.dumps(made))
    for problem in found.refused.values():
        print(f"streamh5: left out: {problem}", file=sys.stderr)
    return 0


@_command(
    "write a zarr store, an HDF5 or netCDF file or a .npy file as one HDF5 file",
    "Write a zarr store (directory, zip file, URL), an HDF5 or netCDF-4 file, a netCDF classic file or a .npy file as "
    "one HDF5 file; with names for all dimensions as netCDF-4. Stored chunks are copied unchanged if neither chunks "
    "nor compression change and HDF5 has the filters.",
    _option("source", metavar="IN"),
    _option("out", metavar="OUT", help="a path, or the URL of an object"),
    _option("--name", help="path of the dataset (IN holds one array) or group (of zarr) in OUT"),
    _option(
        "--chunks",
        action="append",
        default=[],
        metavar="N,N,... | auto | PATH=N,N,...",
        help="chunk shape of all arrays of that many dimensions, or of the array PATH (may be repeated)",
    ),
    _option(
        "--compression",
        type=read_compression,
        metavar="NAME[=LEVEL]",
        default="keep",
        help="gzip, zstd, lzf, ... or none (default: as in IN; gzip if HDF5 does not have the filter)",
    ),
    _flag("--no-copy", "decode and encode every chunk", dest="copy", action="store_const", const=False),
    _flag("--verify", "also decode every chunk that is copied"),
    _flag("--skip-unsupported", "leave out what an HDF5 file written by streamh5 cannot hold"),
    OVERWRITE,
    SAFE,
    STORAGE_OPTION,
    _flag("--verbose", "report for each array how it was converted, and why"),
    JSON,
)
def _convert(
    source: str,
    out: str,
    *,
    chunks: list[str],
    compression: dict[str, Any],
    verbose: bool,
    as_json: bool,
    **options: Any,
) -> int:
    done = streamh5.convert(source, out, chunks=read_chunks(chunks), **compression, **options)
    if as_json:
        print(json.dumps(done.to_dict(), indent=2))
        return 0
    _show(repr(done))
    _show(done.explain() if verbose else "\n".join(done.notes))
    return 0


@_command(
    "list the filters that can be written here, with their speed",
    "List every filter that streamh5 writes, and encode 4 MiB of noisy float32 data with each: speed of one thread in "
    "10^6 bytes per second, and ratio of raw to stored size. Exit status: 0.",
    JSON,
    _flag("--no-speed", "measure nothing", dest="measure", action="store_false"),
)
def _filters(*, as_json: bool, measure: bool) -> int:
    from streamh5.filters.available import available

    found = available(measure=measure)
    if as_json:
        _show(json.dumps([one.to_dict() for one in found], indent=2))
        return 0
    _show(f"{'number':>6}  {'name':<12}{'MB/s':>8}{'ratio':>8}  note")
    for one in found:
        speed = "-" if one.mb_per_s is None else f"{one.mb_per_s:,.0f}"
        ratio = "-" if one.ratio is None else f"{one.ratio:.2f}"
        note = one.note if one.is_writable else f"not here: {one.note}"
        _show(f"{one.filter_id:>6}  {one.keyword:<12}{speed:>8}{ratio:>8}  {note}".rstrip())
    return 0


COMMANDS["abort-upload"] = Command(*ABORT_UPLOAD)
