"""Virtual datasets: which of their parts there are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["VirtualParts", "virtual_parts"]


@dataclass(frozen=True, slots=True, eq=False)
class VirtualParts:
    """The mappings of a virtual dataset.

    Attributes
    ----------
    boxes
        ``(n, 2, rank) intp``: start and stop of the bounds of those whose source is there; None where they cannot
        be told.
    missing
        ``file:dataset`` of the sources that are not there.
    """

    boxes: NDArray[np.intp] | None
    missing: tuple[str, ...]


def virtual_parts(dataset: Any, plist: Any, file: Any) -> VirtualParts:
    """Look for the sources of a virtual dataset.

    Parameters
    ----------
    dataset
        `h5py.h5d.DatasetID`.
    plist
        Its creation property list.
    file
        The `h5py.File` that it is in.
    """
    shape = dataset.get_space().get_simple_extent_dims()
    known: dict[tuple[str, str], bool] = {}
    boxes: list[list[tuple[int, ...]]] = []
    missing: dict[str, None] = {}
    is_bounded = True
    for i in range(plist.get_virtual_count()):
        name, path = plist.get_virtual_filename(i), plist.get_virtual_dsetname(i)
        if "%" in name or "%" in path:  # a name for each block, as many as there are
            is_bounded = False
            continue
        if (name, path) not in known:
            known[name, path] = _is_there(file, name, path)
        if not known[name, path]:
            missing[f"{name}:{path}"] = None
            continue
        start, end = _bounds(plist.get_virtual_vspace(i))
        stop = tuple(min(n, extent) for n, extent in zip(end, shape, strict=True))
        boxes.append([tuple(min(a, b) for a, b in zip(start, stop, strict=True)), stop])
    found = np.array(boxes, np.intp).reshape(len(boxes), 2, len(shape)) if is_bounded else None
    if found is not None:
        found = found[(found[:, 1] > found[:, 0]).all(axis=1)]
    return VirtualParts(found, tuple(missing))


def _bounds(space: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Start and stop of a selection, of which one dimension may have no end.

    h5py asks for the number of elements before it tells bounds, which fails for a selection without end.
    """
    if not space.is_regular_hyperslab():
        start, last = space.get_select_bounds()
        return start, tuple(n + 1 for n in last)
    start, stride, count, block = space.get_regular_hyperslab()
    rows = zip(start, stride, count, block, strict=True)
    return start, tuple(a + s * (c - 1) + b for a, s, c, b in rows)


def _is_there(file: Any, name: str, path: str) -> bool:
    """Whether a source can be opened, where the library looks for it."""
    import h5py

    if name == ".":
        return _has(file, path)
    folder = os.path.dirname(os.path.realpath(file.filename))
    places = [name, os.path.join(folder, name), os.path.join(folder, os.path.basename(name))]
    for place in places:
        if os.path.isfile(place):
            try:
                with h5py.File(place, "r") as source:
                    return _has(source, path)
            except OSError:
                continue
    return False


def _has(file: Any, path: str) -> bool:
    try:
        return path in file
    except (KeyError, ValueError, RuntimeError, OSError):
        return False
