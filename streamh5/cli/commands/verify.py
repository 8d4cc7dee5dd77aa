"""``streamh5 verify``: check structures, checksums and chunks of a file."""

from __future__ import annotations

import json
from typing import Any

from streamh5.cli.command import FILE, JSON, SAFE, Command, flag, option, show
from streamh5.cli.option_values import read_n_jobs
from streamh5.cli.storage_options import STORAGE_OPTION


def _verify(file: str, *, as_json: bool, **options: Any) -> int:
    from streamh5.check.verify import verify

    report = verify(file, **options)
    show(json.dumps(report.to_dict(), indent=2) if as_json else repr(report))
    if report.damaged:
        return 1
    return 0 if report.complete else 2


VERIFY = Command(
    _verify,
    "check every structure, checksum and chunk of a file",
    "Check superblock, object headers, chunk indexes and their checksums with streamh5's own reader, compare the "
    "chunk maps with those that h5py sees, and decode every chunk. Exit status: 0 the file is good, 1 it is damaged, "
    "2 it or parts of it cannot be checked.",
    (
        FILE,
        JSON,
        flag("--no-data", "check metadata only, decode no chunk", dest="data", action="store_false"),
        flag(
            "--no-h5py",
            "do not show the file to h5py: for hostile files",
            dest="with_h5py",
            action="store_false",
        ),
        flag(
            "--no-checksum",
            "do not compare an object with the checksum of its store, for which it is read once more",
            dest="checksum",
            action="store_false",
        ),
        SAFE,
        option(
            "--jobs",
            type=read_n_jobs,
            metavar="N",
            help="threads (default: one per processor; for a URL at least 8)",
        ),
        STORAGE_OPTION,
    ),
    judges=True,
)
