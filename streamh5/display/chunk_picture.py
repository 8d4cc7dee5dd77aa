"""A chunk map as a small SVG: a row, a rectangle, or three faces of a box, with cells for the chunks behind them.

The shade of a cell is the mean stored size of its chunks; one of which some chunks are missing is filled in part, from
its middle.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from streamh5.arguments.memory_size import format_nbytes
from streamh5.display.elements import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamh5.model.chunk_cells import ChunkCells, ChunkFace

_LONGEST, _SHORTEST = 170.0, 44.0
_ROW_HEIGHT = 26.0
_DEPTH = (0.5, 0.36)  # of a step along the leading axis of a box, to the right and up
_MARGIN = 20.0
_N_SHADES, _N_PARTS = 6, 4


class _Plane(NamedTuple):
    """Where a face is drawn: its corner, and the vectors along its columns and rows."""

    x: float
    y: float
    along: tuple[float, float]
    down: tuple[float, float]


def chunk_picture(cells: ChunkCells) -> str:
    """Return the SVG of a chunk map, and what its shades mean."""
    lengths = _lengths(cells.extents)
    lowest, highest = _size_range(cells)
    planes, labels, width, height = _layout(lengths, cells.extents)
    drawn = "".join(
        _face(face, plane, lowest, highest) for face, plane in zip(cells.faces, planes, strict=True)
    )
    title = f"{cells.n_stored:,} of {cells.n_chunks:,} chunks are stored"
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img"><title>{title}</title>{drawn}{labels}</svg>'
    )
    return f'{svg}<div class="sh5-note">{escaped(". ".join(_notes(cells, title, lowest, highest)))}</div>'


def _notes(cells: ChunkCells, title: str, lowest: float, highest: float) -> Iterator[str]:
    yield title
    if cells.n_stored and highest > 1.01 * lowest:
        yield f"Shade: stored size of a chunk, {format_nbytes(lowest)} to {format_nbytes(highest)}"
    largest = max(int(face.n_chunks.max()) for face in cells.faces)
    if largest > 1:
        yield f"A cell stands for up to {largest:,} chunks"


def _lengths(extents: tuple[int, ...]) -> tuple[float, ...]:
    """Return lengths on paper: a longer axis is longer, but an axis of one element can be seen, too."""
    longest = max(extents)
    return tuple(max(_SHORTEST, _LONGEST * math.sqrt(n / longest)) for n in extents)


def _layout(lengths: tuple[float, ...], extents: tuple[int, ...]) -> tuple[list[_Plane], str, float, float]:
    """Return the planes of the faces, the labels, and the size of the picture."""
    if len(lengths) == 1:
        width = 1.6 * _LONGEST
        plane = _Plane(1, 1, (width, 0), (0, _ROW_HEIGHT))
        return [plane], _label(1 + width / 2, _ROW_HEIGHT + 15, extents[0]), width + 2, _ROW_HEIGHT + _MARGIN
    height, width = lengths[-2:]
    depth = lengths[0] if len(lengths) == 3 else 0.0
    right, up = depth * _DEPTH[0], depth * _DEPTH[1]
    front = _Plane(1, 1 + up, (width, 0), (0, height))
    labels = _label(1 + width / 2, up + height + 16, extents[-1])
    labels += _label(6 + width + right, 1 + height / 2, extents[-2], anchor="start")
    planes = [front]
    if depth:
        top = _Plane(front.x, front.y, (width, 0), (right, -up))
        side = _Plane(front.x + width, front.y, (right, -up), (0, height))
        planes += [top, side]
        labels += _label(8 + width + right / 2, 6 + up / 2 + height, extents[0], anchor="start")
    room = 9 + 6.5 * len(f"{max(extents):,}")
    return planes, labels, width + right + room, up + height + _MARGIN


def _label(x: float, y: float, extent: int, anchor: str = "middle") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{extent:,}</text>'


def _size_range(cells: ChunkCells) -> tuple[float, float]:
    """Return the least and the largest mean size of the stored chunks of a cell."""
    means = [
        nbytes / n
        for face in cells.faces
        for n, nbytes in zip(face.n_stored.ravel().tolist(), face.nbytes.ravel().tolist(), strict=True)
        if n
    ]
    return (min(means), max(means)) if means else (0.0, 0.0)


def _face(face: ChunkFace, plane: _Plane, lowest: float, highest: float) -> str:
    n_rows, n_columns = face.n_chunks.shape
    step = plane.along[0] / n_columns, plane.along[1] / n_columns
    fall = plane.down[0] / n_rows, plane.down[1] / n_rows
    corners: dict[tuple[int, int], list[str]] = {}
    numbers = zip(
        face.n_chunks.ravel().tolist(),
        face.n_stored.ravel().tolist(),
        face.nbytes.ravel().tolist(),
        strict=True,
    )
    for i, (n_chunks, n_stored, nbytes) in enumerate(numbers):
        if n_stored:
            row, column = divmod(i, n_columns)
            kind = _shade(nbytes / n_stored, lowest, highest), _part(n_stored, n_chunks)
            inset = (1 - math.sqrt(kind[1] / _N_PARTS)) / 2
            x = plane.x + (column + inset) * step[0] + (row + inset) * fall[0]
            y = plane.y + (column + inset) * step[1] + (row + inset) * fall[1]
            corners.setdefault(kind, []).append(f"M{x:.1f} {y:.1f}")
    filled = []
    for (shade, part), places in sorted(corners.items()):
        side = math.sqrt(part / _N_PARTS)
        outline = _outline((step[0] * side, step[1] * side), (fall[0] * side, fall[1] * side))
        opacity = 0.25 + 0.75 * shade / (_N_SHADES - 1)
        filled.append(
            f'<path fill-opacity="{opacity:.2f}" d="{"".join(place + outline for place in places)}"/>'
        )
    return (
        f'<g fill="currentColor"><path fill-opacity=".05" d="M{plane.x:.1f} {plane.y:.1f}'
        f'{_outline(plane.along, plane.down)}"/>{"".join(filled)}</g>'
        f'<path fill="none" stroke="currentColor" stroke-opacity=".45" stroke-width=".7" '
        f'd="{"".join(_lines(plane, n_rows, n_columns))}"/>'
    )


def _outline(along: tuple[float, float], down: tuple[float, float]) -> str:
    """Return the path of a parallelogram from its corner on."""
    (a, b), (c, d) = along, down
    return f"l{a:.1f} {b:.1f}l{c:.1f} {d:.1f}l{-a:.1f} {-b:.1f}z"


def _lines(plane: _Plane, n_rows: int, n_columns: int) -> Iterable[str]:
    """Yield the lines between the cells, and around them."""
    for n, begin, across in ((n_columns, plane.along, plane.down), (n_rows, plane.down, plane.along)):
        for i in range(n + 1):
            x, y = plane.x + begin[0] * i / n, plane.y + begin[1] * i / n
            yield f"M{x:.1f} {y:.1f}l{across[0]:.1f} {across[1]:.1f}"


def _shade(size: float, lowest: float, highest: float) -> int:
    if highest <= 1.01 * lowest:
        return _N_SHADES - 2
    return round((_N_SHADES - 1) * (size - lowest) / (highest - lowest))


def _part(n_stored: int, n_chunks: int) -> int:
    """Return how many quarters of a cell are filled: at least one, and all only if no chunk is missing."""
    if n_stored >= n_chunks:
        return _N_PARTS
    return max(1, min(_N_PARTS - 1, round(_N_PARTS * n_stored / n_chunks)))
