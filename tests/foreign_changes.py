"""Change every foreign file in place, and compare everything else: ``python -m tests.foreign_changes``.

Each object gets an attribute with mode "a". What h5py reads of the file before and after must be the same but for
these attributes; a file that is refused must stay as it is, byte for byte.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import h5py

import streamh5
from streamh5.errors import StreamH5Error
from streamh5.model.tree import walk
from tests.foreign_conversions import HDF5_SIGNATURE
from tests.readers.whole_content import difference, whole_content
from tests.source_packages import hdf5_files, netcdf_files

TIMEOUT = 120
NAME = "set by streamh5"

CHANGED = "changed, everything else is the same"
REFUSED = "refused, and unchanged"
UNREADABLE = "changed; h5py cannot read it before either"
WRONG = "wrong"
DIES = "the process dies"


@dataclass(frozen=True)
class Change:
    """What became of one file, and why."""

    path: Path
    verdict: str
    reason: str = ""


def package_files(name: str) -> list[Path]:
    """Return the HDF5 files that an installed package has for its tests."""
    spec = find_spec(name)
    folder = Path(spec.origin).parent if spec is not None and spec.origin else Path("missing")
    return sorted(one for one in folder.rglob("*") if one.suffix in (".h5", ".mat", ".nc") and is_hdf5(one))


def is_hdf5(path: Path) -> bool:
    """Return whether a file has the signature of HDF5 at one of the places for it."""
    head = path.read_bytes()[: 1 << 17]
    return any(head[at : at + 8] == HDF5_SIGNATURE for at in (0, *(512 << i for i in range(8))))


def packages() -> Iterator[tuple[str, list[Path]]]:
    """Yield the names of packages with their files."""
    yield "HDF5", hdf5_files()
    yield "netCDF-C", list(filter(is_hdf5, netcdf_files()))
    for name in ("tables", "h5py", "xarray", "scipy"):
        yield name, package_files(name)


def change(path: Path, folder: Path) -> Change:
    """Change a copy of a file in a process of its own, which may crash or hang."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["streamh5", "h5py", "hdf5plugin", "tests.readers.whole_content"])
    said = _apart(context, _change, path, folder)
    if said[0] == WRONG and said[1] == DIES and _apart(context, _read, path, folder)[1] == DIES:
        said = UNREADABLE, DIES
    return Change(path, *said)


def _apart(context: Any, target: Any, path: Path, folder: Path) -> tuple[str, str]:
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(path, folder, send))
    process.start()
    send.close()
    try:
        said: tuple[str, str] = receive.recv() if receive.poll(TIMEOUT) else (WRONG, "it hangs")
    except EOFError:
        said = (WRONG, DIES)
    process.kill()
    process.join()
    return said


def _read(path: Path, _: Path, send: Connection) -> None:
    whole_content(path)
    send.send((CHANGED, ""))


def _change(path: Path, folder: Path, send: Connection) -> None:
    warnings.simplefilter("ignore")
    os.chdir(path.parent)  # where external files are
    try:
        send.send(verdict(path, folder))
    except BaseException as error:  # noqa: BLE001 - each is a fault that the campaign names
        send.send((WRONG, repr(error)[:400]))


def verdict(path: Path, folder: Path) -> tuple[str, str]:
    """Change a copy of a file in this process; return what became of it, and why."""
    copy = folder / f"copy{path.suffix}"
    shutil.copyfile(path, copy)
    copy.chmod(0o600)
    try:
        set_attributes(copy)
    except StreamH5Error as error:
        if copy.read_bytes() != path.read_bytes():
            return WRONG, f"refused, but changed: {error}"
        return REFUSED, str(error)
    try:
        before = whole_content(path)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        return UNREADABLE, repr(error)[:200]
    found = without_attributes(copy)
    if isinstance(found, str):
        return WRONG, found
    different = difference(found, before)
    if different is not None:
        return WRONG, different
    checked_before = streamh5.verify(path, progress=False)
    if not checked_before.damaged and streamh5.verify(copy, progress=False).damaged:
        return WRONG, f"verify: {streamh5.verify(copy, progress=False)!r}"
    return CHANGED, ""


def set_attributes(path: Path) -> None:
    """Set an attribute of every object of a file."""
    with streamh5.File(path, "a", sync="none") as file:
        for node in list(walk(file.node)):
            file.handle_of(node).attrs[NAME] = node.path


def without_attributes(path: Path) -> dict[str, Any] | str:
    """Return what h5py reads of a changed file without the new attributes, or what is wrong with these."""
    content = whole_content(path)
    with h5py.File(path) as file:
        for label, facts in content.items():
            if facts["attributes"].pop(NAME.encode(), None) is None:
                return f"{label} has no new attribute"
            named = file[label.encode(errors="surrogateescape")]
            if file[named.attrs[NAME].encode(errors="surrogateescape")] != named:
                return f"{label} has another attribute"
    return content


def results(folder: Path) -> Iterator[tuple[str, Change]]:
    """Change every file of all packages."""
    for package, files in packages():
        for path in files:
            yield package, change(path, folder)


def main() -> int:
    """Print the faults, the reasons of refusals, and the counts."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for package, one in results(Path(folder)):
            found.append((package, one))
            if one.verdict != CHANGED:
                print(f"{package} {one.path.name}: {one.verdict}: {one.reason}", flush=True)
    counts = Counter((package, one.verdict) for package, one in found)
    names = list(dict.fromkeys(package for package, _ in found))
    print(f"| | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
    for verdict in (CHANGED, REFUSED, UNREADABLE, WRONG):
        print(f"| {verdict} | {' | '.join(str(counts[name, verdict]) for name in names)} |")
    return int(any(one.verdict == WRONG for _, one in found))


if __name__ == "__main__":
    sys.exit(main())
