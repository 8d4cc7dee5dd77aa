"""``Place``: where stored bytes go. A range of addresses is reserved, then written.

This is the only seam between encoded chunks and the file. The place of a session is the end of its file, where each
reservation moves the cursor of the engine. Another source of address ranges (a region reserved for one writer, a part
of an upload) is another pair of functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from streamh5.engine.attribute_heap import MAX_COLLECTION_NBYTES
from streamh5.format.global_heap import (
    encode_global_heap_collection,
    split_into_collections,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from streamh5.filters import Buffer


class Place(NamedTuple):
    """Reserves ranges of addresses and writes them; both functions are thread-safe.

    Parameters
    ----------
    reserve
        Reserves a number of bytes and returns their address.
    write
        Writes buffers, one after the other, at an address.
    """

    reserve: Callable[[int], int]
    write: Callable[[int, Sequence[Buffer]], None]


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
