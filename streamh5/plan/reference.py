"""Object references: values that are the address of another object of the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from streamh5.format.datatype_class import ObjectReference

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SIZEOF_REFERENCE", "HeapObject", "Parts", "Reference", "Resolve", "join_parts", "sizeof_parts"]

SIZEOF_REFERENCE = ObjectReference().nbytes


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to the object at `path` of the same file, for attribute values.

    What h5py shows as `h5py.Reference`. The object may be created later than the attribute, before
    the file is closed.
    """

    path: str


Parts: TypeAlias = "tuple[bytes | Reference, ...]"
"""Bytes with references in between, whose addresses are known when the file is closed."""

Resolve: TypeAlias = "Callable[[Reference], bytes]"


@dataclass(frozen=True, slots=True)
class HeapObject:
    """An element of variable length: how many items of its base type, and their bytes."""

    n: int
    parts: Parts


def sizeof_parts(parts: Parts) -> int:
    """Bytes of `parts`."""
    return sum(SIZEOF_REFERENCE if isinstance(part, Reference) else len(part) for part in parts)


def join_parts(parts: Parts, resolve: Resolve) -> bytes:
    """Join `parts`; `resolve` gives the bytes of a reference."""
    return b"".join(resolve(part) if isinstance(part, Reference) else part for part in parts)
