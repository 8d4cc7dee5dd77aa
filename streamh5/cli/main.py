"""The command line: `main` parses the arguments and runs one of `COMMANDS`.

Each has a module in ``cli/commands``.

Exit status: 0 success, 1 the command found a problem, 2 an error of streamh5 or of the arguments, 130 interrupted,
141 the reader of the output has closed it (the status of a program that is ended by SIGPIPE).
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import streamh5
from streamh5.cli.command import report_error
from streamh5.cli.commands.abort_upload import ABORT_UPLOAD
from streamh5.cli.commands.convert import CONVERT
from streamh5.cli.commands.demo import DEMO
from streamh5.cli.commands.filters import LIST_FILTERS
from streamh5.cli.commands.inspect import INSPECT
from streamh5.cli.commands.references import REFERENCES
from streamh5.cli.commands.salvage import SALVAGE
from streamh5.cli.commands.verify import VERIFY
from streamh5.cli.parser import parse
from streamh5.errors import StreamH5Error

if TYPE_CHECKING:
    from collections.abc import Sequence


COMMANDS = {
    "demo": DEMO,
    "verify": VERIFY,
    "inspect": INSPECT,
    "salvage": SALVAGE,
    "references": REFERENCES,
    "convert": CONVERT,
    "filters": LIST_FILTERS,
    "abort-upload": ABORT_UPLOAD,
}

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of writing to the standard output that are reported without a traceback."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    argv
        Arguments without the name of the program; those of the process by default.
    """
    if sys.stdout is None:  # closed by the caller: the exit status still counts
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the end of the process
    command, options = parse(argv, COMMANDS, streamh5.__version__)
    try:
        status = command.run(**options)
        sys.stdout.flush()
        return status
    except StreamH5Error as error:
        return report_error(error, command)
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


def _drop_output() -> None:
    """Send what is still buffered to ``/dev/null``, or the interpreter would try to write it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
