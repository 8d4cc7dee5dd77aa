"""``--storage-option NAME=VALUE`` of the commands that take URLs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class AddStorageOption(argparse.Action):
    """Collects the options in one dictionary, the `storage_options` of the functions."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add one option; a message never shows a value, which may be a secret."""
        name, is_there, value = str(values).partition("=")
        if not name or not is_there:
            parser.error(f"argument {option_string}: write NAME=VALUE")
        found = getattr(namespace, self.dest) or {}
        setattr(namespace, self.dest, {**found, name: _value(value)})


def _value(text: str) -> Any:
    """Return a value in JSON (``true``, ``8``, ``{"region_name": "x"}``), or anything else as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


STORAGE_OPTION: tuple[tuple[str, ...], dict[str, Any]] = (
    ("--storage-option",),
    {
        "action": AddStorageOption,
        "dest": "storage_options",
        "metavar": "NAME=VALUE",
        "help": "an option of fsspec's file system for URLs, such as anon=true or endpoint_url=http://host:9000 (may "
        "be repeated); credentials are better left to the environment, where other users do not see them",
    },
)
"""The option, as `Command` has it."""
