"""``SharedDataset``: a dataset of h5py that tasks in other processes open by its path."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import suppress
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any

from streamh5.dask.seen_file import ADVICE, SeenFile
from streamh5.errors import SourceError
from streamh5.sinks.machine import host_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py

ONE_FILE_DRIVERS = ("sec2", "stdio")
"""Drivers of h5py whose file is one file on disk, with addresses that are positions in it."""


class SharedDataset:
    """A dataset that is open in this process, and opened again where its pickle arrives.

    There the file is opened when elements are first read, and closed with this object: as long as HDF5 has a file
    open, nobody can create it anew in that process.

    Parameters
    ----------
    dataset
        `h5py.h5d.DatasetID`; None after the journey, until it is opened.
    file, path
        Its file, and its path in there.
    seen
        The file, and a digest of the `other_files`, as the process saw them where the dataset was open.
    """

    def __init__(
        self, dataset: Any, file: h5py.File | None, path: bytes, seen: tuple[SeenFile, str] | None = None
    ) -> None:
        self._dataset, self._file, self._path, self._seen = dataset, file, path, seen
        self._lock = threading.Lock()
        self._has_plugins = False

    def __reduce__(self) -> tuple[Any, ...]:
        if self._seen is None:
            self._seen = self._see()
        return SharedDataset, (None, None, self._path, self._seen)

    @property
    def is_local(self) -> bool:
        """Whether only this process can read it: the file is not one on disk, or is written to."""
        file: Any = self._file
        return file is not None and (file.driver not in ONE_FILE_DRIVERS or file.mode != "r")

    def _see(self) -> tuple[SeenFile, str]:
        """Return what other processes compare.

        Raises
        ------
        SourceError
            Other processes cannot read the file.
        """
        file: Any = self._file
        name = str(file.filename)
        try:
            return SeenFile.of(name), _digest(self._dataset, name)
        except OSError as error:
            raise SourceError(
                f"{name} cannot be opened by its path: {error.strerror}", source=name
            ) from error

    def open(self) -> Any:
        """Return the `h5py.h5d.DatasetID`.

        Raises
        ------
        SourceError
            This process does not see the files, or sees others; the message names its machine.
        """
        with self._lock:
            if self._dataset is None and self._seen is not None:
                seen, digest = self._seen
                seen.check()
                _check_other_files(seen, self._path, digest)
                self._file, self._dataset = _open(seen.path, self._path)
            if not self._has_plugins:
                find_plugins(self._dataset)
                self._has_plugins = True
            return self._dataset


def _open(filename: str, path: bytes) -> tuple[h5py.File, Any]:
    import h5py
    from h5py import h5d

    try:
        # without a lock: it would keep out who writes the file later, and some network file systems have none
        file = h5py.File(filename, "r", locking=False)
    except OSError:  # HDF5 refuses other flags for locks than those with which this process has the file open
        file = h5py.File(filename, "r")
    return file, h5d.open(file.id, path)


def find_plugins(dataset: Any) -> None:
    """Let the HDF5 library find the filters of a dataset in hdf5plugin, where that is installed.

    Parameters
    ----------
    dataset
        `h5py.h5d.DatasetID`. The sources of a virtual dataset may have any filters.
    """
    from h5py import h5d, h5z

    plist = dataset.get_create_plist()
    numbers = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if plist.get_layout() != h5d.VIRTUAL and all(map(h5z.filter_avail, numbers)):
        return
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 - its import registers them


@lru_cache  # once per process: a virtual dataset may have thousands of sources
def _check_other_files(seen: SeenFile, path: bytes, digest: str) -> None:
    file, dataset = _open(seen.path, path)
    with file:
        is_same = _digest(dataset, seen.path) == digest
    if not is_same:
        host = host_name()
        raise SourceError(
            f"{seen.path} on {host}: the files that hold the data of {path.decode(errors='replace')} (sources of a "
            f"virtual dataset, external files) are missing or others; {ADVICE}",
            source=seen.path,
            host=host,
        )


def _digest(dataset: Any, filename: str) -> str:
    files = [SeenFile.of(place) for place in other_files(dataset, filename)]
    return hashlib.sha256(repr(files).encode()).hexdigest() if files else ""


def other_files(dataset: Any, filename: str) -> Iterator[str]:
    """Yield the paths of the files that hold data of a dataset outside its own, where HDF5 finds them.

    HDF5 takes a missing source of a virtual dataset for one without data.

    Parameters
    ----------
    dataset
        `h5py.h5d.DatasetID`.
    filename
        The file that it is in.
    """
    from h5py import h5d

    plist = dataset.get_create_plist()
    for i in range(plist.get_external_count()):
        name = os.fsdecode(plist.get_external(i)[0])
        if os.path.exists(name):
            yield os.path.abspath(name)
    if plist.get_layout() != h5d.VIRTUAL:
        return
    patterns = {plist.get_virtual_filename(i): None for i in range(plist.get_virtual_count())}
    for pattern in patterns:
        for name in _names(pattern):
            found = next((one for one in virtual_places(name, filename) if os.path.isfile(one)), None)
            if found is None:
                break
            yield os.path.abspath(found)


def _names(pattern: str) -> Iterator[str]:
    """Yield the names that a pattern stands for: one for each block, without end (`H5Pset_virtual`)."""
    parts = pattern.split("%%")
    if not any("%b" in part for part in parts):
        yield "%".join(parts)
        return
    for i in count():
        yield "%".join(part.replace("%b", str(i)) for part in parts)


def nested_files(dataset: Any, filename: str, seen: set[tuple[str, str]]) -> Iterator[str]:
    """Yield `other_files`, and those of the sources of a virtual dataset that are virtual or external themselves.

    Parameters
    ----------
    dataset, filename
        As for `other_files`.
    seen
        File and path of the sources that were looked at; they are added to it.
    """
    yield from other_files(dataset, filename)
    for one in _virtual_sources(dataset, filename):
        if one not in seen:
            seen.add(one)
            with suppress(OSError, KeyError):  # a source that is missing has no data
                file, source = _open(one[0], one[1].encode("utf-8", "surrogateescape"))
                with file:
                    yield from nested_files(source, one[0], seen)


def _virtual_sources(dataset: Any, filename: str) -> Iterator[tuple[str, str]]:
    """Yield file and path of the sources of a virtual dataset; of a pattern until a file is missing."""
    from h5py import h5d

    plist = dataset.get_create_plist()
    n = plist.get_virtual_count() if plist.get_layout() == h5d.VIRTUAL else 0
    sources = ((plist.get_virtual_filename(i), plist.get_virtual_dsetname(i)) for i in range(n))
    for pattern, path in dict.fromkeys(sources):
        for name in _names(pattern):
            places = virtual_places(name, filename) if name != "." else (filename,)
            found = next((one for one in places if os.path.isfile(one)), None)
            if found is None:
                break
            yield os.path.abspath(found), path


def virtual_places(name: str, filename: str) -> Iterator[str]:
    """Yield the places where HDF5 looks for a source file of a virtual dataset in `filename`."""
    if name != ".":
        folder = os.path.dirname(os.path.realpath(filename))
        yield from (name, os.path.join(folder, name), os.path.join(folder, os.path.basename(name)))
