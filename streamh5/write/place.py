"""``Place``: where stored bytes go. A range of addresses is reserved, then written.

This is the only seam between encoded chunks and the file. `FilePlace` is the end of a file of this process, where each
reservation moves the cursor of the engine. Another source of address ranges (a region reserved for one writer, a part
of an upload) would be another class with the same two methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from streamh5.engine.attribute_heap import MAX_COLLECTION_NBYTES
from streamh5.format.global_heap import (
    encode_global_heap_collection,
    split_into_collections,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from streamh5.filters import Buffer
    from streamh5.sinks.base import Sink


class Reserves(Protocol):
    """Anything that reserves addresses of a file."""

    def reserve(self, nbytes: int) -> int:
        """Reserve `nbytes` and return their address."""


class Place(Reserves, Protocol):
    """Reserves ranges of addresses and writes them; thread-safe."""

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Write `buffers`, one after the other, at `address`."""


class FilePlace:
    """The end of a file that this process writes.

    Parameters
    ----------
    engine
        Owns the addresses.
    sink
        Receives the bytes.
    """

    __slots__ = ("_engine", "_sink")

    def __init__(self, engine: Reserves, sink: Sink) -> None:
        self._engine = engine
        self._sink = sink

    def reserve(self, nbytes: int) -> int:
        """Reserve `nbytes` and return their address."""
        return self._engine.reserve(nbytes)

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Write `buffers`, one after the other, at `address`."""
        self._sink.write(address, buffers)


def place_objects(place: Place, objects: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Write objects to global heap collections of their own; return the address and index of each."""
    sizes = [len(data) for data in objects]
    addresses, indices = np.zeros(len(objects), np.uint64), np.zeros(len(objects), np.uint32)
    for part in split_into_collections(sizes, MAX_COLLECTION_NBYTES):
        collection = encode_global_heap_collection(objects[part])
        address = place.reserve(len(collection))
        place.write(address, [collection])
        addresses[part] = address
        indices[part] = np.arange(1, part.stop - part.start + 1)
    return addresses, indices
