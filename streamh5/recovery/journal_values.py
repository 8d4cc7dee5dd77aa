"""Data without chunks in the journal: the elements that each call sets (entry E), and a value assembled from them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.model.parts import encode_parts
from streamh5.model.reference import HeapObject, sizeof_part, sizeof_parts
from streamh5.recovery.journal_facts import parts_facts, parts_from_facts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.model.reference import Part, Parts
    from streamh5.model.tree import DatasetNode

MAX_ELEMENTS_NBYTES = 1 << 20
"""Most bytes of elements that one call adds to the journal; otherwise a value that is set repeatedly would make
the journal larger than the data."""

MAX_VALUE_NBYTES = 64 << 20
"""Largest value that is assembled from the elements of several calls."""


def elements_facts(number: int, node: DatasetNode, region: Any) -> dict[str, Any]:
    """Describe a region of data without chunks, which was just set, as JSON: a range of whole elements.

    Elements of more than `MAX_ELEMENTS_NBYTES` are left out: their parts are null.
    """
    first, stop = _range(node.shape or (), region)
    nbytes = node.spec.element_nbytes
    parts: Parts
    if not node.spec.has_parts and node.parts is None:
        parts = (node.value_bytes[first * nbytes : stop * nbytes],)
    elif (first, stop) == (0, math.prod(node.shape or ())) or node.value is None:
        parts = node.value_parts
    else:
        parts = encode_parts(node.value.reshape(-1)[first:stop], node.spec.dtype)
    is_small = _deep_nbytes(parts) <= MAX_ELEMENTS_NBYTES
    return {"dataset": number, "first": first, "parts": parts_facts(parts) if is_small else None}


def _range(shape: tuple[int, ...], region: Any) -> tuple[int, int]:
    """Return the range of elements, in row-major order, that covers a region."""
    if region is ...:
        return 0, math.prod(shape)
    is_set = np.zeros(shape, bool)
    is_set[region] = True
    positions = np.flatnonzero(is_set)
    return (int(positions[0]), int(positions[-1]) + 1) if len(positions) else (0, 0)


def _deep_nbytes(parts: Parts) -> int:
    return sizeof_parts(parts) + sum(_deep_nbytes(one.parts) for one in parts if isinstance(one, HeapObject))


def assemble_value(node: DatasetNode, pieces: list[dict[str, Any]]) -> NDArray[Any] | Parts | None:
    """Assemble a value from the elements of E entries; others are those of the public file, or the fill value.

    Returns
    -------
    ndarray, Parts or None
        The stored array, or its parts if the dataset has parts; None if an entry left elements out.

    Raises
    ------
    ValueError
        Elements lie outside the dataset, or are incomplete.
    """
    nbytes, shape = node.spec.element_nbytes, node.shape or ()
    n = math.prod(shape)
    elements: list[tuple[int, Parts]] | None = []
    for facts in pieces:
        first, parts = facts["first"], facts["parts"]
        if parts is None:
            elements = None
            continue
        found = parts_from_facts(parts)
        count, rest = divmod(sizeof_parts(found), nbytes)
        if type(first) is not int or first < 0 or rest or first + count > n:
            raise ValueError(f"{count:,} elements of {node.path} from {first!r} on")
        if count == n:  # replaces everything before it
            elements = []
        if elements is not None:
            elements.append((first, found))
    if elements is None or (len(elements) > 1 and node.spec.value_nbytes > MAX_VALUE_NBYTES):
        return None
    if node.spec.has_parts or any(not isinstance(part, bytes) for _, parts in elements for part in parts):
        return _joined_parts(_old_elements(node, n), elements, nbytes)
    stored = bytearray(node.value_bytes if node.stored is None else node.bytes_of(node.whole()))
    for first, parts in elements:
        data = b"".join(part for part in parts if isinstance(part, bytes))
        stored[first * nbytes : first * nbytes + len(data)] = data
    if len(stored) != n * nbytes:
        raise ValueError(f"references in {node.path}, of type {node.spec.dtype}")
    return np.frombuffer(stored, node.spec.stored_dtype).reshape(shape)


def _old_elements(node: DatasetNode, n: int) -> list[Parts]:
    if node.stored is None:
        return [node.spec.fill_element() for _ in range(n)]
    read = node.stored.read_references
    parts = encode_parts(node.whole(), node.spec.dtype) if read is None else read()
    return _each_element(parts, node.spec.element_nbytes)


def _joined_parts(whole: list[Parts], elements: list[tuple[int, Parts]], nbytes: int) -> list[Part]:
    for first, parts in elements:
        each = _each_element(parts, nbytes)
        whole[first : first + len(each)] = each
    return [part for one in whole for part in one]


def _each_element(parts: Parts, nbytes: int) -> list[Parts]:
    """Cut parts into elements of `nbytes` each."""
    each: list[Parts] = []
    element: list[Part] = []
    room = nbytes
    for part in parts:
        rest = part
        while isinstance(rest, bytes) and len(rest) > room:
            each.append([*element, rest[:room]])
            rest, element, room = rest[room:], [], nbytes
        element.append(rest)
        room -= sizeof_part(rest)
        if room < 0:
            raise ValueError("a reference that exceeds its element")
        if room == 0:
            each.append(element)
            element, room = [], nbytes
    return each
