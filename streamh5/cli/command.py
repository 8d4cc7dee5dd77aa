"""What a command of the command line is, and the options that several have."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from streamh5.errors import (
    ForeignStructureError,
    FormatError,
    InterruptedWriteError,
    StreamH5Error,
    UnreadableError,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Option = tuple[tuple[str, ...], dict[str, Any]]


class Command(NamedTuple):
    """A command: its function, the texts of ``--help``, the arguments of each ``add_argument``.

    The function gets the options as keywords and returns the exit status. It imports what it needs when it runs, so
    that ``--help`` and small commands start quickly.

    `judges`: exit status 1 if the file that it reads is damaged.
    """

    run: Callable[..., int]
    summary: str
    description: str
    options: tuple[Option, ...] = ()
    judges: bool = False


def option(*names: str, **settings: Any) -> Option:
    """Return an option, or an argument without a name, as ``add_argument`` takes it."""
    return names, settings


def flag(name: str, text: str, *, action: str = "store_true", **settings: Any) -> Option:
    """Return an option without a value, with its text of ``--help``."""
    return option(name, action=action, help=text, **settings)


def show(text: str) -> None:
    """Print `text`, with ``?`` for characters that the terminal does not have, and escapes for control characters."""
    text = printable(text)
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


def report_error(error: StreamH5Error, command: Command) -> int:
    """Print an error of a command to the standard error, and return the exit status."""
    message = _with_options(str(error))
    if isinstance(error, InterruptedWriteError) and any("--resume" in names for names, _ in command.options):
        message = message.replace("(resume=True)", "(--resume)")
    print(f"streamh5: {printable(message)}", file=sys.stderr)
    return 1 if command.judges and _is_damage(error) else 2


def _is_damage(error: StreamH5Error) -> bool:
    """Return whether an error means that a file is damaged, not that it is unreadable or of an unknown structure."""
    return isinstance(error, FormatError) and not isinstance(error, (ForeignStructureError, UnreadableError))


def _with_options(message: str) -> str:
    """Replace keywords in a message by the options of the command line."""
    message = message.replace("mode 'w' (overwrite=True)", "overwrite=True")
    message = message.replace("(output=)", "(--output)")
    return re.sub(r"\b(overwrite|skip)=True\b( \(File: mode 'w'\))?", r"--\1", message)


FILE = option("file", metavar="FILE", help="a path or a URL")
JSON = flag("--json", "print the result as JSON", dest="as_json")
OVERWRITE = flag("--overwrite", "replace OUT if it exists")
SAFE = flag("--safe", "let the HDF5 library read in a child process: for files that are not trusted")
