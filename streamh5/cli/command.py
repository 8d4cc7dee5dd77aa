"""What a command of the command line is, and the options that several have."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from streamh5.errors import printable

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


FILE = option("file", metavar="FILE", help="a path or a URL")
JSON = flag("--json", "print the result as JSON", dest="as_json")
OVERWRITE = flag("--overwrite", "replace OUT if it exists")
SAFE = flag("--safe", "let the HDF5 library read in a child process: for files that are not trusted")
