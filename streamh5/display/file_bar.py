"""A file from its first to its last byte, as a bar of coloured cells with a legend."""

from __future__ import annotations

from itertools import groupby

from streamh5.display.elements import escaped

_COLOURS = {
    "superblock": ("--sh5-bad", 1.0),
    "object headers": ("--sh5-meta", 1.0),
    "chunk indexes": ("--sh5-warn", 0.8),
    "heaps": ("--sh5-good", 0.8),
    "data": ("--sh5-data", 0.75),
    "user block": ("--sh5-soft", 0.8),
    "unused": ("--sh5-soft", 0.15),
}
"""Colour and opacity of each kind of content."""

_WIDTH, _HEIGHT, _CELL = 720, 28, 10


def file_bar(cells: str, kinds: dict[str, str]) -> str:
    """Return the bar of a file.

    Parameters
    ----------
    cells
        One letter for each of equal parts of the file.
    kinds
        The kind of content that each letter stands for.
    """
    x, boxes, found = 0.0, [], dict.fromkeys(kinds[letter] for letter in cells)
    for letter, run in groupby(cells):
        width = _WIDTH * len(list(run)) / len(cells)
        boxes.append(
            f'<rect x="{x:.1f}" width="{width:.1f}" height="{_HEIGHT}" style="{_fill(kinds[letter])}"/>'
        )
        x += width
    legend = "".join(
        f'<span style="white-space:nowrap;margin-right:14px"><svg width="{_CELL}" height="{_CELL}" aria-hidden="true">'
        f'<rect width="{_CELL}" height="{_CELL}" style="{_fill(kind)}"/></svg> {escaped(kind)}</span>'
        for kind in found
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'style="width:100%;height:{_HEIGHT}px" '
        f'preserveAspectRatio="none" role="img"><title>what lies where in the file</title>{"".join(boxes)}</svg>'
        f"<div>{legend}</div>"
    )


def _fill(kind: str) -> str:
    colour, opacity = _COLOURS.get(kind, ("--sh5-soft", 0.4))
    return f"fill:var({colour});fill-opacity:{opacity}"
