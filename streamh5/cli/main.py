"""The command line: a thin front, one function for each command.

A command is a function that adds its parser and sets ``run``, which takes the parsed arguments and
returns the exit status; it stands in `COMMANDS`. What it needs is imported when it runs.

Exit status: 0 done, 1 the command found something wrong, 2 an error of ours or of the arguments,
130 interrupted, 141 nobody reads the output any more (as of a program that SIGPIPE ends).
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import streamh5
from streamh5.arguments.memory_size import read_memory_size
from streamh5.errors import (
    ChunkShapeError,
    ForeignStructureError,
    FormatError,
    SpecError,
    StreamH5Error,
    UnreadableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What writing to the standard output ends with."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    argv
        Arguments without the program's name; those of the process by default.
    """
    if sys.stdout is None:  # closed by the caller: the exit status still counts
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the end of the process
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        status = run(arguments)
        sys.stdout.flush()
        return status
    except StreamH5Error as error:
        print(f"streamh5: {_with_options(str(error))}", file=sys.stderr)
        return 1 if arguments.judges and _is_damage(error) else 2
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
    """Whether an error says that a file is damaged, rather than that it cannot be read or is not known."""
    return isinstance(error, FormatError) and not isinstance(error, (ForeignStructureError, UnreadableError))


def _with_options(message: str) -> str:
    """Name options where a message names keywords."""
    return re.sub(r"\b(overwrite|skip)=True\b( \(File: mode 'w'\))?", r"--\1", message)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="streamh5", description="Write arrays larger than memory into one ordinary HDF5 file."
    )
    parser.add_argument("--version", action="version", version=f"streamh5 {streamh5.__version__}")
    parser.set_defaults(judges=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    return parser


def _demo(commands: Commands) -> None:
    parser = commands.add_parser(
        "demo",
        help="stream an array several times larger than its memory into a file, and check it",
        description="Stream a lazily computed array, several times larger than the memory that is "
        "allowed, into one HDF5 file; then read it with h5py and compare values with the array.",
    )
    parser.add_argument(
        "out", nargs="?", metavar="OUT", help="keep the file here; by default it is removed at the end"
    )
    parser.add_argument(
        "--size", type=_nbytes, default="2GiB", help="size of the array (default: %(default)s)"
    )
    parser.add_argument(
        "--memory",
        type=_nbytes,
        default="256MiB",
        help="memory allowed beyond what the interpreter and its imports hold (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")

    def run(arguments: argparse.Namespace) -> int:
        from streamh5.cli.demo import run_demo

        is_right = run_demo(
            arguments.out,
            size_nbytes=arguments.size,
            memory_nbytes=arguments.memory,
            overwrite=arguments.overwrite,
        )
        return 0 if is_right else 1

    parser.set_defaults(run=run)


def _verify(commands: Commands) -> None:
    parser = commands.add_parser(
        "verify",
        help="check every structure, checksum and chunk of a file",
        description="Check superblock, object headers, chunk indexes and their checksums with streamh5's own "
        "reader, compare the chunk maps with those that h5py sees, and decode every chunk. Exit status: 0 the "
        "file is good, 1 it is damaged, 2 it or parts of it cannot be checked.",
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--no-data", action="store_true", help="check metadata only, decode no chunk")
    parser.add_argument(
        "--no-h5py", action="store_true", help="do not show the file to h5py: for hostile files"
    )
    _add_safe(parser)
    parser.add_argument("--jobs", type=_n_jobs, metavar="N", help="threads (default: one a processor)")

    def run(arguments: argparse.Namespace) -> int:
        from streamh5.check.verify import verify

        report = verify(
            arguments.file,
            data=not arguments.no_data,
            jobs=arguments.jobs,
            with_h5py=not arguments.no_h5py,
            safe=arguments.safe,
        )
        _show(json.dumps(report.to_dict(), indent=2) if arguments.json else repr(report))
        if report.damaged:
            return 1
        return 0 if report.complete else 2

    parser.set_defaults(run=run, judges=True)


def _inspect(commands: Commands) -> None:
    parser = commands.add_parser(
        "inspect",
        help="show what a file holds and where it lies",
        description="Show datasets, shapes, chunk indexes, filters and sizes, and a map of the file. No data is read. "
        "Exit status: 0, 1 the file is damaged (what is left of it is shown), 2 it cannot be read.",
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print it as JSON")

    def run(arguments: argparse.Namespace) -> int:
        from streamh5.check.inspection import inspect

        found = inspect(arguments.file)
        width = min(120, max(80, shutil.get_terminal_size((100, 24)).columns))
        _show(json.dumps(found.to_dict(), indent=2) if arguments.json else found.render(width))
        return 1 if found.damaged else 0

    parser.set_defaults(run=run, judges=True)


def _add_safe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--safe",
        action="store_true",
        help="let the HDF5 library read in a child process: for files that are not trusted",
    )


def _drop_output() -> None:
    """Let what is buffered go nowhere, so that the interpreter does not try to write it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _show(text: str) -> None:
    """Print `text`, with ``?`` for what the terminal has no character for."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


def _n_jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1 on, not {text!r}")
    return int(text)


def _salvage(commands: Commands) -> None:
    parser = commands.add_parser(
        "salvage",
        help="make a valid file of what an interrupted write has left",
        description="Publish what an interrupted write has left as a valid HDF5 file, without copying data. "
        "Missing chunks read as the fill value; attributes named streamh5_... say what is missing.",
    )
    parser.add_argument("partial", metavar="OUT.h5.partial", help="the partial file, its journal beside it")
    parser.add_argument(
        "--output",
        metavar="F",
        help="name of the new file, on the same file system (default: OUT.salvaged.h5)",
    )
    parser.add_argument("--json", action="store_true", help="print what is there as JSON")

    def run(arguments: argparse.Namespace) -> int:
        summary = streamh5.salvage(arguments.partial, output=arguments.output)
        print(json.dumps(summary.to_dict()) if arguments.json else summary)
        return 0

    parser.set_defaults(run=run)


def _nbytes(text: str) -> int:
    """Bytes of ``512MiB``, ``2GB`` or ``4096``."""
    try:
        return read_memory_size(text, "size") or 0
    except SpecError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 512MiB, 2GB or 4096") from None


def _filters(commands: Commands) -> None:
    parser = commands.add_parser(
        "filters",
        help="list the filters that can be written here, with their speed",
        description="List every filter that streamh5 writes, and encode 4 MiB of noisy float32 data with each: speed "
        "of one thread in 10^6 bytes a second, and raw over stored size. Exit status: 0.",
    )
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.add_argument("--no-speed", action="store_true", help="measure nothing")

    def run(arguments: argparse.Namespace) -> int:
        from streamh5.filters.available import available

        found = available(measure=not arguments.no_speed)
        if arguments.json:
            _show(json.dumps([one.to_dict() for one in found], indent=2))
            return 0
        _show(f"{'number':>6}  {'name':<12}{'MB/s':>8}{'ratio':>8}  note")
        for one in found:
            speed = "-" if one.mb_per_s is None else f"{one.mb_per_s:,.0f}"
            ratio = "-" if one.ratio is None else f"{one.ratio:.2f}"
            note = one.note if one.is_writable else f"not here: {one.note}"
            _show(f"{one.filter_id:>6}  {one.keyword:<12}{speed:>8}{ratio:>8}  {note}".rstrip())
        return 0

    parser.set_defaults(run=run)


def _references(commands: Commands) -> None:
    parser = commands.add_parser(
        "references",
        help="write references to the chunks of a file, for readers of zarr",
        description="Write references to the chunks of any HDF5 file in kerchunk's form: with them xarray and zarr "
        "read the file through fsspec as if it were a zarr store. No data is copied.",
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument(
        "--output",
        metavar="OUT",
        help="a .json file or a .parquet directory (default: JSON to standard output)",
    )
    parser.add_argument("--format", choices=("json", "parquet"), help="default: as OUT ends")
    parser.add_argument("--url", help="where readers will find FILE (default: its absolute path)")
    parser.add_argument(
        "--inline",
        type=_nbytes,
        default=0,
        metavar="N",
        help="put data of one chunk of up to N bytes into them",
    )
    parser.add_argument(
        "--skip", action="store_true", help="leave out datasets that they cannot express, and say which"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    _add_safe(parser)

    def run(arguments: argparse.Namespace) -> int:
        if arguments.output is None and arguments.format == "parquet":
            raise SpecError(
                "references --format parquet writes a directory of files; name it: --output OUT.parquet"
            )
        found = streamh5.read_references(arguments.file, url=arguments.url, safe=arguments.safe)
        made = found.to_kerchunk(
            arguments.output,
            format=arguments.format,
            inline=arguments.inline,
            skip=arguments.skip,
            overwrite=arguments.overwrite,
        )
        if made is not None:
            print(json.dumps(made))
        for problem in found.refused.values():
            print(f"streamh5: left out: {problem}", file=sys.stderr)
        return 0

    parser.set_defaults(run=run)


def _convert(commands: Commands) -> None:
    parser = commands.add_parser(
        "convert",
        help="write a zarr store, an HDF5 or netCDF file or a .npy file as one HDF5 file",
        description="Write a zarr store (directory, zip file, URL), an HDF5 or netCDF-4 file, a netCDF classic file or "
        "a .npy file as one HDF5 file; with names for all dimensions as netCDF-4. Stored chunks are copied as they are "
        "where neither chunks nor compression change and HDF5 has the filters.",
    )
    parser.add_argument("source", metavar="IN")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--name", help="path of the dataset (IN holds one array) or group (of zarr) in OUT")
    parser.add_argument(
        "--chunks",
        action="append",
        default=[],
        metavar="N,N,... | auto | PATH=N,N,...",
        help="chunk shape of all arrays of that many dimensions, or of the array PATH (may be repeated)",
    )
    parser.add_argument(
        "--compression",
        metavar="NAME[=LEVEL]",
        default="keep",
        help="gzip, zstd, lzf, ... or none (default: as in IN; gzip where HDF5 has no such filter)",
    )
    parser.add_argument("--no-copy", action="store_true", help="decode and encode every chunk")
    parser.add_argument("--verify", action="store_true", help="decode every chunk that is copied, too")
    parser.add_argument(
        "--skip-unsupported", action="store_true", help="leave out what an HDF5 file of ours cannot hold"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    _add_safe(parser)
    parser.add_argument("--verbose", action="store_true", help="say of each array how it came over, and why")
    parser.add_argument("--json", action="store_true", help="print all that as JSON")

    def run(arguments: argparse.Namespace) -> int:
        done = streamh5.convert(
            arguments.source,
            arguments.out,
            arguments.name,
            chunks=_chunks(arguments.chunks),
            copy=False if arguments.no_copy else None,
            verify=arguments.verify,
            skip_unsupported=arguments.skip_unsupported,
            overwrite=arguments.overwrite,
            safe=arguments.safe,
            **_compression(arguments.compression),
        )
        if arguments.json:
            print(json.dumps(done.to_dict(), indent=2))
            return 0
        _show(repr(done))
        _show(done.explain() if arguments.verbose else "\n".join(done.notes))
        return 0

    parser.set_defaults(run=run)


def _chunks(texts: list[str]) -> Any:
    """Chunks as `convert` takes them.

    Raises
    ------
    ChunkShapeError
        Neither ``auto`` nor numbers, or shapes with and without paths.
    """
    shapes: dict[str | None, Any] = {}
    for text in texts:
        path, _, shape = text.rpartition("=")
        try:
            shapes[path or None] = shape if shape == "auto" else tuple(map(int, shape.split(",")))
        except ValueError:
            raise ChunkShapeError(f"--chunks {text}: write 1,256,256, auto or /x=1,256,256") from None
    if len(shapes) > 1 and None in shapes:
        raise ChunkShapeError("--chunks: give one shape for all arrays, or PATH=N,N,... for each")
    return shapes.get(None, shapes or None)


def _compression(text: str) -> dict[str, Any]:
    """Keywords of ``NAME[=LEVEL]``."""
    name, _, level = text.partition("=")
    options = {} if not level else {"compression_opts": int(level) if level.isdecimal() else level}
    return {"compression": None if name == "none" else name, **options}


COMMANDS: tuple[Callable[[Commands], None], ...] = (
    _demo,
    _verify,
    _inspect,
    _salvage,
    _references,
    _convert,
    _filters,
)
