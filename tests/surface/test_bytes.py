"""Every kind of file is, byte for byte, what it was: a change of the bytes is made on purpose or not at all.

``python -m tests.surface.test_bytes`` writes the digests anew; a change of them says in its commit why.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dask
import numpy as np
import pytest

from streamh5.write.pool import Job, Pool
from tests.surface import kinds
from tests.surface.kinds import KINDS

DIGESTS = Path(__file__).with_name("bytes.json")

# Bytes of these depend on more than streamh5: versions of the codecs, of xarray, of streamh5 itself.
CODECS = ("szip nn", "szip ec")
VERSIONS = ("netCDF", "netCDF, v108")
# Their writer is killed in the midst of what its threads do.
UNORDERED = ("resumed", "salvaged")

RECORDED = [kind for kind in KINDS if kind not in VERSIONS + UNORDERED]


def _run_here(pool: Pool, job: Job) -> None:
    """Run a job in the thread that submits it: chunks come in one order."""
    del pool
    job.run()


def _plain(keywords: dict[str, Any]) -> dict[str, Any]:
    """Filters of our own in the place of compression, whose bytes belong to a library."""
    if keywords.get("compression") == "gzip":
        return {"compression": None, "shuffle": True, "fletcher32": True}
    return keywords


@contextmanager
def one_way_to_write() -> Iterator[None]:
    """Write in one order, with filters whose bytes no other library decides."""
    filters = {name: _plain(kinds.FILTERS[name]) for name in kinds.FILTERS if name not in CODECS}
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(scheduler="synchronous"))
        stack.enter_context(patch.object(Pool, "submit", _run_here))
        stack.enter_context(patch.object(kinds, "GZIP", _plain(kinds.GZIP)))
        stack.enter_context(patch.object(kinds, "DEFLATE", _plain(kinds.DEFLATE)))
        stack.enter_context(patch.object(kinds, "FILTERS", filters))
        yield


def digest(kind: str, folder: Path) -> str:
    path = folder / "a.h5"
    with one_way_to_write():
        KINDS[kind](path)
    content = path.read_bytes()
    path.unlink()
    return hashlib.sha256(content).hexdigest()


@pytest.mark.skipif(
    (sys.byteorder, platform.machine(), np.longdouble(0).itemsize) != ("little", "x86_64", 16),
    reason="the digests are of x86_64, whose long double is in some of the files",
)
@pytest.mark.parametrize("kind", RECORDED)
def test_every_kind_of_file_has_the_bytes_that_it_had(kind: str, tmp_path: Path) -> None:
    assert digest(kind, tmp_path) == json.loads(DIGESTS.read_text())[kind]


def test_digests_are_of_the_kinds_there_are() -> None:
    assert sorted(json.loads(DIGESTS.read_text())) == sorted(RECORDED)


def main() -> None:
    """Record the digests."""
    with tempfile.TemporaryDirectory() as folder:
        found = {kind: digest(kind, Path(folder)) for kind in RECORDED}
    DIGESTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
