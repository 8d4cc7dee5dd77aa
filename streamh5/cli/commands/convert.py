"""``streamh5 convert``: write a file or store of another kind as one HDF5 file."""

from __future__ import annotations

import argparse
import json
from typing import Any

import streamh5
from streamh5.cli.command import JSON, OVERWRITE, SAFE, Command, flag, option, show
from streamh5.cli.option_values import read_chunks, read_compression, read_page_option
from streamh5.cli.storage_options import STORAGE_OPTION


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
    show(repr(done))
    show(done.explain() if verbose else "\n".join(done.notes))
    return 0


CONVERT = Command(
    _convert,
    "write a zarr store, an HDF5 or netCDF file or a .npy file as one HDF5 file",
    "Write a zarr store (directory, zip file, URL), an HDF5 or netCDF-4 file, a netCDF classic file or a .npy file as "
    "one HDF5 file; with names for all dimensions as netCDF-4. Stored chunks are copied unchanged if neither chunks "
    "nor compression change and HDF5 has the filters.",
    (
        option("source", metavar="IN"),
        option("out", metavar="OUT", help="a path, or the URL of an object"),
        option("--name", help="path of the dataset (IN holds one array) or group (of zarr) in OUT"),
        option(
            "--chunks",
            action="append",
            default=[],
            metavar="N,N,... | auto | PATH=N,N,...",
            help="chunk shape of all arrays of that many dimensions, or of the array PATH (may be repeated)",
        ),
        option(
            "--compression",
            type=read_compression,
            metavar="NAME[=LEVEL]",
            default="keep",
            help="gzip, zstd, lzf, ... or none (default: as in IN; gzip if HDF5 does not have the filter)",
        ),
        option(
            "--page",
            type=read_page_option,
            default=argparse.SUPPRESS,  # a value would be a wish, which wins over --cloud
            metavar="auto | SIZE | none",
            help="write pages, for readers with a page buffer: as large as the metadata, or of this size, such as "
            "8MiB",
        ),
        flag(
            "--cloud",
            "make OUT right for object stores, as inspect --cloud tells: pages, and chunks of 1 to 10 MB where IN has "
            "others; --chunks and --page win where they are given",
        ),
        flag("--no-copy", "decode and encode every chunk", dest="copy", action="store_const", const=False),
        flag("--verify", "also decode every chunk that is copied"),
        flag("--skip-unsupported", "leave out what an HDF5 file written by streamh5 cannot hold"),
        OVERWRITE,
        flag(
            "--resume",
            "go on with an interrupted conversion to OUT, with the same IN and options, or begin one; after a failure, "
            "what is stored is kept",
        ),
        option(
            "--sync",
            choices=("close", "batch", "none"),
            default="close",
            help="when data reaches the disk: at the end, every two seconds as well (after a power cut, --resume need "
            "not read and compare what is stored), or when the system decides",
        ),
        SAFE,
        STORAGE_OPTION,
        flag("--verbose", "report for each array how it was converted, and why"),
        JSON,
    ),
)
