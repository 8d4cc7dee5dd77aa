"""Values that point to other places of the file: object and region references, and heap objects.

Their bytes contain addresses, which are known only when the file is closed. Until then, a value is a sequence of
`Parts`.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from streamh5.errors import SpecError, shown
from streamh5.format import datatype_class
from streamh5.format.global_heap import SIZEOF_VARIABLE_LENGTH_ELEMENT
from streamh5.model.object_path import join_path, split_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZEOF_REFERENCE = datatype_class.ObjectReferenceClass().nbytes
SIZEOF_REGION_REFERENCE = datatype_class.RegionReferenceClass().nbytes


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to the object at `path` of the same file, for attributes and datasets.

    h5py reads it as `h5py.Reference`. The object may be created later than the reference, before
    the file is closed.

    Parameters
    ----------
    path
        The object; a path that does not begin with ``/`` is taken from the root.

    Raises
    ------
    PathError
        `path` is not a valid path.

    Examples
    --------
    >>> with streamh5.File("x.h5", "w") as f:
    ...     f["x"] = np.zeros(10)
    ...     f.attrs["default"] = streamh5.Reference("/x")
    """

    path: str

    def __post_init__(self) -> None:
        # once, before anybody has seen the frozen value
        object.__setattr__(self, "path", join_path(split_path(self.path)))


@dataclass(frozen=True, slots=True)
class RegionReference:
    """A reference to a part of the dataset at `path`, for attributes and datasets.

    h5py reads it as `h5py.RegionReference`.

    Parameters
    ----------
    path
        The dataset, which may be created later, before the file is closed.
    region
        A box, as a tuple of slices and ints with a start and a stop from 0 on, such as
        ``np.s_[0:3, 5:9]``; or a list of boxes; or, as ``bytes``, a selection as a file stores it, which is
        not decoded.

    Raises
    ------
    PathError
        `path` is not a valid path.
    SpecError
        The region has no elements, an open slice, a step, or boxes of different rank.

    Examples
    --------
    >>> valid = streamh5.RegionReference("/x", np.s_[0:3, 5:9])
    >>> valid.boxes
    ((slice(0, 3, None), slice(5, 9, None)),)
    >>> with streamh5.File("x.h5", "w") as f:
    ...     f["x"] = np.zeros((10, 10))
    ...     f.attrs["valid"] = valid
    """

    path: str
    region: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", join_path(split_path(self.path)))
        _ = self.boxes  # raises the error of a wrong region where it is made

    @property
    def boxes(self) -> tuple[tuple[slice, ...], ...]:
        """The region as boxes of slices; empty if it is given as a stored selection."""
        if isinstance(self.region, bytes):
            return ()
        given = self.region if isinstance(self.region, list) else [self.region]
        boxes = tuple(
            tuple(self._slice(key) for key in (box if isinstance(box, tuple) else (box,))) for box in given
        )
        if not boxes or not boxes[0] or len({len(box) for box in boxes}) > 1:
            raise SpecError(
                f"the region {shown(self.region)} of {self.path} has no boxes, or "
                "boxes of different rank; give boxes of the rank of the dataset"
            )
        return boxes

    def _slice(self, key: Any) -> slice:
        try:
            if isinstance(key, slice):
                start, stop = operator.index(key.start or 0), operator.index(key.stop)
                is_good = key.step in (None, 1) and 0 <= start < stop < 2**32
            else:
                start = operator.index(key)
                stop, is_good = start + 1, 0 <= start < 2**32 - 1
        except TypeError:
            is_good = False
        if not is_good:
            raise SpecError(
                f"{shown(key)} in the region of {self.path} must be an int or a slice with a start and a later stop "
                "from 0 to 4,294,967,295, without step",
                path=self.path,
                region=self.region,
            )
        return slice(start, stop)


@dataclass(frozen=True, slots=True)
class StoredReference:
    """A reference of the existing file: the address of the header of an object when the file was opened.

    It follows the object when its header moves, and is null once the object has been deleted.
    """

    address: int


@dataclass(frozen=True, slots=True)
class StoredRegionReference:
    """A region reference of the existing file: the address of the header of a dataset, and a selection as stored."""

    address: int
    selection: bytes


@dataclass(frozen=True, slots=True)
class HeapObject:
    """An element of variable length: its number of items of the base type, and their bytes in the heap.

    An empty sequence has no parts, and no object in the heap. An empty text has one part of zero bytes.
    """

    n: int
    parts: Parts


AnyReference: TypeAlias = "Reference | RegionReference | StoredReference | StoredRegionReference"
"""Something that refers to an object of the file."""

Part: TypeAlias = "bytes | AnyReference | HeapObject"

Parts: TypeAlias = "Sequence[Part]"
"""Bytes of elements, mixed with references and heap objects, which have no address yet."""

Resolve: TypeAlias = "Callable[[AnyReference | HeapObject], bytes]"


def sizeof_part(part: Part) -> int:
    """Return the size of a part in its element, in bytes."""
    match part:
        case bytes():
            return len(part)
        case Reference() | StoredReference():
            return SIZEOF_REFERENCE
        case RegionReference() | StoredRegionReference():
            return SIZEOF_REGION_REFERENCE
        case HeapObject():
            return SIZEOF_VARIABLE_LENGTH_ELEMENT


def sizeof_parts(parts: Parts) -> int:
    """Return the size of `parts` in bytes."""
    return sum(map(sizeof_part, parts))


def join_parts(parts: Parts, resolve: Resolve) -> bytes:
    """Join `parts`; `resolve` returns the bytes of those that are not bytes."""
    return b"".join([part if isinstance(part, bytes) else resolve(part) for part in parts])


def references_in(parts: Parts) -> Iterator[AnyReference]:
    """Yield the references among parts, also those inside heap objects."""
    for part in parts:
        if isinstance(part, HeapObject):
            yield from references_in(part.parts)
        elif not isinstance(part, bytes):
            yield part
