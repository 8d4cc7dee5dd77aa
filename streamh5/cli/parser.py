"""The parser of the command line: `argparse`, which says what was meant by a word that it does not know."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, NoReturn

from streamh5.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamh5.cli.command import Command


class Parser(argparse.ArgumentParser):
    """A parser, and those of the commands that `add_subparsers` makes."""

    def error(self, message: str) -> NoReturn:
        """Report an error, with a suggestion for a choice that does not exist; exit with status 2."""
        if found := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            message += did_you_mean(found[1], re.findall(r"[\w-]+", found[2]))
        super().error(message)


def parse(
    argv: Sequence[str] | None, commands: Mapping[str, Command], version: str
) -> tuple[Command, dict[str, object]]:
    """Return the command that was asked for, and its options; errors end the process with status 2.

    Parameters
    ----------
    argv
        Arguments without the name of the program; None for those of the process.
    commands
        All commands by name.
    version
        The version that ``--version`` prints.
    """
    parser = Parser(
        prog="streamh5", description="Write arrays larger than memory into one ordinary HDF5 file."
    )
    parser.add_argument("--version", action="version", version=f"streamh5 {version}")
    choices = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in commands.items():
        own = choices.add_parser(name, help=command.summary, description=command.description)
        own.set_defaults(command=command, parser=own)
        for names, settings in command.options:
            own.add_argument(*names, **settings)
    found, unknown = parser.parse_known_args(argv)
    options = vars(found)
    command, own = options.pop("command"), options.pop("parser")
    if unknown:
        known = [name for names, _ in command.options for name in names if name.startswith("-")]
        own.error(
            f"unrecognized arguments: {' '.join(unknown)}{did_you_mean(unknown[0].split('=')[0], known)}"
        )
    return command, options
