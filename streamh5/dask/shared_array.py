"""``SharedArray``: a zarr array that tasks in other processes open, after they have checked that it is the same one."""

from __future__ import annotations

import hashlib
import pickle
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamh5.dask.foreign_errors import foreign_errors
from streamh5.dask.seen_file import ADVICE, SeenFile
from streamh5.errors import SourceError
from streamh5.sinks.machine import host_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zarr

_DOCUMENTS = ("zarr.json", ".zarray", ".zmetadata")
"""Names of metadata documents: of zarr 3, of an array of zarr 2, and of a group with those of all its members."""


class SharedArray:
    """An array that is open in this process, and opened again where its pickle arrives, when it is first read.

    zarr takes every chunk of a store that a process does not see for one that was never written. So the metadata is
    compared first: where it is a file, by size and time of its last change, else by its content.

    Parameters
    ----------
    array
        The array; None after the journey, until it is opened.
    packed
        Its pickle, and what the process saw of its store where it was open.
    """

    def __init__(
        self, array: zarr.Array[Any] | None, packed: tuple[bytes, SeenFile | str] | None = None
    ) -> None:
        self._array, self._packed = array, packed
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._packed is None:
            array = _absolute(self._array)
            # as bytes, because the pickle of a zip file opens it at once, also in the scheduler, which reads nothing
            self._packed = pickle.dumps(array), _seen(array)
        return SharedArray, (None, self._packed)

    @property
    def is_local(self) -> bool:
        """Whether the array is in the memory of this process."""
        from zarr.storage import MemoryStore

        return self._array is not None and isinstance(self._array.store_path.store, MemoryStore)

    def open(self) -> zarr.Array[Any]:
        """Return the array.

        Raises
        ------
        SourceError
            This process does not see the store, or sees another; the message names its machine.
        """
        with self._lock:
            if self._array is None:
                self._array = self._opened()
            return self._array

    def _opened(self) -> zarr.Array[Any]:
        if self._packed is None:
            raise TypeError("an array that is neither open nor was packed")
        packed, seen = self._packed
        if isinstance(seen, SeenFile):
            seen.check()
        array: zarr.Array[Any] = pickle.loads(packed)
        if seen != _seen(array):
            name, host = str(array.store_path), host_name()
            raise SourceError(f"{name} is another store on {host}; {ADVICE}", source=name, host=host)
        return array


def _absolute(array: Any) -> zarr.Array[Any]:
    """Return an array whose store has an absolute path, if it has one."""
    import zarr
    from zarr.storage import LocalStore, ZipStore

    store = array.store_path.store
    if type(store) is LocalStore and not store.root.is_absolute():
        store = LocalStore(store.root.absolute(), read_only=True)
    elif type(store) is ZipStore and not store.path.is_absolute():
        store = ZipStore(store.path.absolute(), mode="r")
    if store is array.store_path.store:
        return array
    version = array.metadata.zarr_format
    return zarr.open_array(store, path=array.store_path.path, mode="r", zarr_format=version)


def _seen(array: zarr.Array[Any]) -> SeenFile | str:
    """Return by what another process can tell whether it sees the same store: a file, or a digest of the metadata.

    Raises
    ------
    SourceError
        The store has no metadata here.
    """
    from zarr.storage import LocalStore, ZipStore

    store, name = array.store_path.store, str(array.store_path)
    with foreign_errors(f"{name} cannot be read on {host_name()}", source=name):
        if isinstance(store, ZipStore):
            return SeenFile.of(store.path)
        for key in _documents(array.store_path.path):
            if isinstance(store, LocalStore):
                if (Path(store.root) / key).is_file():
                    return SeenFile.of(store.root / key)
                continue
            content = _value(store, key)
            if content is not None:
                return hashlib.sha256(content).hexdigest()
    raise SourceError(f"{name} has no metadata on {host_name()}; {ADVICE}", source=name)


def _documents(prefix: str) -> Iterator[str]:
    """Yield where the metadata of an array may be: beside it, or in a group around it."""
    parts = prefix.split("/") if prefix else []
    for i in range(len(parts), -1, -1):
        yield from ("/".join((*parts[:i], name)) for name in _DOCUMENTS)


def _value(store: Any, key: str) -> bytes | None:
    # zarr 3 has no public function that runs coroutines on its event loop
    from zarr.core.buffer.cpu import buffer_prototype
    from zarr.core.sync import sync

    found: Any = sync(store.get(key, buffer_prototype))
    return None if found is None else bytes(found.to_bytes())
