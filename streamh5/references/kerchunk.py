"""References in version 1 of kerchunk's format: as a dictionary, or as the JSON text of that dictionary.

Every group has zarr's consolidated metadata, which kerchunk itself omits. Without it, zarr 3 has to list the
references, and finds nothing below the root group (``FsspecStore.list_dir`` on fsspec's reference file system).
"""

from __future__ import annotations

import base64
import json
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from streamh5.references.zarr_array import ZarrArray


_GROUP = {"zarr_format": 2}

_json = json.JSONEncoder(ensure_ascii=False).encode
"""One encoder: `json.dumps` would make one for each value, in groups twelve times as many as there are objects."""

N_ROWS = 1 << 16
"""Lines of one batch of JSON text: a few MiB of characters, so that a batch stays in the processor's cache."""


def metadata_entries(
    groups: dict[str, dict[str, Any]], arrays: Iterable[ZarrArray]
) -> dict[str, dict[str, Any]]:
    """Return zarr's metadata by key: ``.zgroup``, ``.zarray`` and ``.zattrs`` of all groups and arrays."""
    found: dict[str, dict[str, Any]] = {}
    for path, attributes in groups.items():
        found[_key(path, ".zgroup")] = _GROUP
        found[_key(path, ".zattrs")] = attributes
    for array in arrays:
        found[_key(array.path, ".zarray")] = array.metadata
        names = {"_ARRAY_DIMENSIONS": list(array.dimensions)}
        found[_key(array.path, ".zattrs")] = {**array.attributes, **names}
    return found


def consolidated(
    entries: dict[str, dict[str, Any]], groups: Iterable[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each group with its ``.zmetadata``: the metadata of all groups and arrays inside it."""
    inside: dict[str, dict[str, Any]] = {group: {} for group in groups}
    for key, value in entries.items():
        parent = "/" + key.rpartition("/")[0]
        while True:
            if parent in inside:
                inside[parent][key[len(parent.strip("/")) :].lstrip("/")] = value
            if parent == "/":
                break
            parent = parent.rpartition("/")[0] or "/"
    for group, metadata in inside.items():
        yield group, {"zarr_consolidated_format": 1, "metadata": metadata}


def kerchunk_dict(groups: dict[str, dict[str, Any]], arrays: list[ZarrArray]) -> dict[str, Any]:
    """Return the references as a dictionary with the keys ``version`` and ``refs``, as kerchunk does."""
    refs: dict[str, Any] = dict(_metadata_texts(groups, arrays))
    for array in arrays:
        if array.content is not None:
            refs[_content_key(array)] = _base64(array.content)
            continue
        manifest = array.manifest
        coords = manifest.coords() or (manifest.numbers,)
        template = _key(array.path, ".".join(["%d"] * len(coords)), is_template=True)
        keys = map(template.__mod__, zip(*(one.tolist() for one in coords), strict=True))
        values = zip(repeat(manifest.url), manifest.offsets.tolist(), manifest.lengths.tolist(), strict=False)
        refs.update(zip(keys, map(list, values), strict=True))
    return {"version": 1, "refs": refs}


def kerchunk_json(groups: dict[str, dict[str, Any]], arrays: list[ZarrArray]) -> Iterator[bytes]:
    """Yield the JSON text of `kerchunk_dict` in pieces."""
    yield b'{"version": 1, "refs": {'
    head = (f"\n{_json(key)}: {_json(value)}" for key, value in _metadata_texts(groups, arrays))
    yield ",".join(head).encode("utf-8")
    for array in arrays:
        if array.content is not None:
            yield f",\n{_json(_content_key(array))}: {_json(_base64(array.content))}".encode()
            continue
        manifest = array.manifest
        coords = manifest.coords() or (manifest.numbers,)
        parts: list[Any] = [b",\n" + _json(_key(array.path, ""))[:-1].encode("utf-8")]
        for column in coords:
            parts += [column, b"."]
        parts[-1] = f'": [{_json(manifest.url)}, '.encode()
        parts += [manifest.offsets, b", ", manifest.lengths, b"]"]
        yield from lines(parts, len(manifest))
    yield b"\n}}\n"


def _metadata_texts(
    groups: dict[str, dict[str, Any]], arrays: Iterable[ZarrArray]
) -> Iterator[tuple[str, str]]:
    entries = metadata_entries(groups, arrays)
    for key, value in entries.items():
        yield key, _json(value)
    for path, metadata in consolidated(entries, groups):
        yield _key(path, ".zmetadata"), _json(metadata)


def _key(path: str, name: str, *, is_template: bool = False) -> str:
    prefix = path.strip("/")
    if is_template:  # for the operator %, which fills in the coords
        prefix = prefix.replace("%", "%%")
    return f"{prefix}/{name}" if prefix else name


def _content_key(array: ZarrArray) -> str:
    return _key(array.path, ".".join("0" for _ in array.metadata["shape"]) or "0")


def _base64(content: bytes) -> str:
    return "base64:" + base64.b64encode(content).decode("ascii")


def lines(parts: Sequence[bytes | NDArray[Any]], n: int) -> Iterator[bytes]:
    """Yield `n` lines of text made from columns, in batches of `N_ROWS`, without a Python loop over the lines.

    Each part becomes a table of characters, ``(rows, width) uint8``, and a mask of those to show, so that numbers
    with fewer digits need no padding in the text. The tables side by side, with the mask applied, are the lines.

    Parameters
    ----------
    parts
        The parts of a line, in order: constant bytes, or a column of ``(n,)`` non-negative integers, which are
        written in decimal.
    n
        Number of lines.
    """
    for first in range(0, n, N_ROWS):
        rows = slice(first, min(first + N_ROWS, n))
        cells = [
            _constant(part, rows.stop - first) if isinstance(part, bytes) else _digits(part[rows])
            for part in parts
        ]
        characters = np.concatenate([cell[0] for cell in cells], axis=1)
        is_shown = np.concatenate([cell[1] for cell in cells], axis=1)
        yield characters[is_shown].tobytes()


def _constant(part: bytes, n: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    shape = (n, len(part))
    return np.broadcast_to(np.frombuffer(part, np.uint8), shape), np.broadcast_to(np.True_, shape)


def _digits(column: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the digits of numbers as characters, and a mask that omits leading zeros: ``(n, width)`` each."""
    rest = column.astype(np.uint64)
    width = len(str(int(rest.max())))
    characters = np.empty((len(rest), width), np.uint8)
    is_shown = np.ones((len(rest), width), np.bool_)
    for i in reversed(range(width)):
        if i < width - 1:
            is_shown[:, i] = rest != 0
        rest, digit = np.divmod(rest, np.uint64(10))
        characters[:, i] = digit
    characters += ord("0")
    return characters, is_shown
