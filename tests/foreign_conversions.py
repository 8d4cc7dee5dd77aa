"""Convert every test file of HDF5 and netCDF-C, and count: ``python -m tests.foreign_conversions``.

What h5repack or nccopy copies is converted to the same content, which h5diff or ncdump decides, or refused with an
error that names the object. The counts go into docs/testing.md.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from multiprocessing.connection import Connection
from pathlib import Path

import h5py

import streamh5
from streamh5.errors import StreamH5Error
from tests.source_packages import hdf5_files, netcdf_files

DOCS = Path(__file__).parents[1] / "docs" / "testing.md"
BEGIN, END = "<!-- counts: python -m tests.foreign_conversions -->\n", "<!-- end of counts -->\n"
TIMEOUT = 300
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

SAME = "same content, by h5diff or ncdump"
SAME_CHUNKS = "same stored chunks; h5diff cannot read them in h5repack's copy either"
DANGLING = "same but for references that lead nowhere: they are null, as a note says"
REFUSED = "refused, with the object's name"
WRONG = "wrong"


@dataclass(frozen=True)
class Result:
    """What became of one file: whether the tools copy it, the verdict, and why."""

    path: Path
    is_copied: bool
    verdict: str
    reason: str = ""


def examine(path: Path, folder: Path) -> Result:
    """Copy a file with h5repack or nccopy, convert it, and compare."""
    ours, theirs = folder / "ours.h5", folder / "theirs.h5"
    for old in (ours, theirs):
        old.unlink(missing_ok=True)
    is_hdf5 = _is_hdf5(path)
    copy = ("h5repack",) if is_hdf5 else ("nccopy", "-k", "nc4")
    is_copied = _run(path.parent, *copy, path, theirs).returncode == 0
    said = _convert_apart(path, ours)
    if said is None:
        return Result(path, is_copied, WRONG, "the process ends, or does not end")
    kind, text, name = said
    if kind == "refused":
        names = name[:40] in text or (name == "/" and "group" in text)  # long names are shortened
        return Result(path, is_copied, REFUSED if names else WRONG, text)
    if kind == "raw":
        return Result(path, is_copied, WRONG, text)
    difference = _hdf5_difference(path, ours, theirs, text) if is_hdf5 else None
    if difference is None and (path.suffix == ".nc" or not is_hdf5):
        difference = _netcdf_difference(path, ours, None if is_hdf5 else theirs)
    if difference in (None, SAME_CHUNKS, DANGLING):
        return Result(path, is_copied, difference or SAME, text)
    return Result(path, is_copied, WRONG, difference or "")


def _is_hdf5(path: Path) -> bool:
    head = path.read_bytes()[: 1 << 16]
    return any(head[at : at + 8] == HDF5_SIGNATURE for at in (0, *(512 << i for i in range(8))))


def _run(cwd: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool where the source is, so that it finds files that belong to it."""
    try:
        return subprocess.run(
            words,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            cwd=cwd,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, -1, "", f"{words[0]} takes more than {TIMEOUT} s")


def _convert_apart(path: Path, target: Path) -> tuple[str, str, str] | None:
    """Convert in a process of its own; None where it dies or hangs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["streamh5", "dask.array", "h5py", "hdf5plugin"])
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_convert, args=(path, target, send))
    process.start()
    send.close()
    try:
        said: tuple[str, str, str] | None = receive.recv() if receive.poll(TIMEOUT) else None
    except EOFError:
        said = None
    process.kill()
    process.join()
    return said


def _convert(path: Path, target: Path, send: Connection) -> None:
    warnings.simplefilter("ignore")
    os.chdir(path.parent)  # where h5py looks for external files
    try:
        done = streamh5.convert(path, target, overwrite=True, sync="none", progress=False)
    except StreamH5Error as error:
        name = str(error.facts.get("path") or path)
        send.send(("refused", f"{error}", name))
    except BaseException as error:  # noqa: BLE001 - each is a fault that the campaign names
        send.send(("raw", repr(error)[:300], ""))
    else:
        send.send(("done", " | ".join(done.notes)[:300], ""))


def _hdf5_difference(path: Path, ours: Path, theirs: Path, notes: str) -> str | None:
    """What h5diff finds; where it cannot decode even h5repack's copy, what the stored chunks are."""
    done = _run(path.parent, "h5diff", path, ours)
    if done.returncode == 0:
        return None
    if done.returncode != 1 and _run(path.parent, "h5diff", path, theirs).returncode not in (0, 1):
        return SAME_CHUNKS if list(_stored(path)) == list(_stored(ours)) else "other chunks than the source"
    found = [int(n) for n in re.findall(r"(\d+) differences found", done.stdout)]
    dangling = re.search(r"(\d+) references to missing objects are null", notes)
    if done.returncode == 1 and dangling and sum(found) == int(dangling[1]):
        return DANGLING
    return f"h5diff: {done.stdout + done.stderr}"[:400]


def _stored(path: Path) -> Iterator[tuple[str, tuple[int, ...], int, bytes]]:
    """Every stored chunk of a file, as it lies there."""
    found: list[str] = []
    with h5py.File(path) as file:
        file.visititems(
            lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) and node.chunks else None
        )
        for name in found:
            dataset = file[name].id
            for i in range(dataset.get_num_chunks()):
                at = dataset.get_chunk_info(i).chunk_offset
                mask, data = dataset.read_direct_chunk(at)
                yield name, at, mask, data


def _netcdf_difference(path: Path, ours: Path, theirs: Path | None = None) -> str | None:
    """Return the first line that ncdump writes otherwise; None where it writes something else each time."""
    first, again, here = (_dump(one) for one in (theirs or path, theirs or path, ours))
    if first != again or not first:
        return None
    pairs = zip_longest(first, here, fillvalue="")
    return next((f"ncdump: {a.strip()} became {b.strip()}"[:300] for a, b in pairs if a != b), None)


def _dump(path: Path) -> list[str]:
    return _run(path.parent, "ncdump", "-n", "x", path).stdout.splitlines()


def results(folder: Path) -> Iterator[tuple[str, Result]]:
    """Examine every file of both packages."""
    for package, files in (("HDF5", hdf5_files()), ("netCDF-C", netcdf_files())):
        for path in files:
            yield package, examine(path, folder)


def table(found: list[tuple[str, Result]]) -> str:
    """Return the counts, as a table of Markdown."""
    counts = Counter((package, one.is_copied, one.verdict) for package, one in found)
    packages = sorted({package for package, _ in found})
    lines = [f"| | {' | '.join(packages)} |", "|---|" + "---:|" * len(packages)]

    def row(name: str, *keys: tuple[bool, str]) -> None:
        values = [sum(counts[package, *key] for key in keys) for package in packages]
        lines.append(f"| {name} | {' | '.join(map(str, values))} |")

    verdicts = (SAME, SAME_CHUNKS, DANGLING, REFUSED, WRONG)
    for is_copied, title in ((True, "h5repack or nccopy copies"), (False, "neither copies")):
        row(f"**files that {title}**", *((is_copied, one) for one in verdicts))
        for verdict in verdicts:
            row(f"... {verdict}", (is_copied, verdict))
    return "\n".join(lines) + "\n"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for package, one in results(Path(folder)):
            found.append((package, one))
            if one.verdict == WRONG or (one.is_copied and one.verdict != SAME):
                print(f"{one.path}: {one.verdict}: {one.reason}", flush=True)
    before, rest = DOCS.read_text().split(BEGIN)
    _, after = rest.split(END)
    DOCS.write_text(f"{before}{BEGIN}{table(found)}{END}{after}")
    return int(any(one.verdict == WRONG for _, one in found))


if __name__ == "__main__":
    sys.exit(main())
