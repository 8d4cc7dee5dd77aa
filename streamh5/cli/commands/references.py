"""``streamh5 references``: write references to the chunks of a file, for readers of zarr."""

from __future__ import annotations

import json
import sys
from typing import Any

import streamh5
from streamh5.arguments.paths import object_url
from streamh5.cli.command import FILE, OVERWRITE, SAFE, Command, flag, option
from streamh5.cli.option_values import read_nbytes
from streamh5.cli.storage_options import STORAGE_OPTION
from streamh5.errors import SpecError, printable


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
        print(f"streamh5: left out: {printable(str(problem))}", file=sys.stderr)
    return 0


REFERENCES = Command(
    _references,
    "write references to the chunks of a file, for readers of zarr",
    "Write references to the chunks of any HDF5 file in kerchunk's form: with them xarray and zarr read the file "
    "through fsspec as if it were a zarr store. No data is copied.",
    (
        FILE,
        option(
            "--output",
            metavar="OUT",
            help="a .json file or a .parquet directory, path or URL (default: JSON to standard output)",
        ),
        option("--format", choices=("json", "parquet"), help="default: by the suffix of OUT"),
        option("--url", help="where readers will find FILE (default: its URL or absolute path)"),
        option(
            "--inline",
            type=read_nbytes,
            default=0,
            metavar="N",
            help="store the values of datasets of one chunk in the references if they have at most N bytes",
        ),
        flag("--skip", "leave out datasets that references cannot express, and report which"),
        OVERWRITE,
        SAFE,
        STORAGE_OPTION,
    ),
)
