"""What a notebook shows of handles, whatever the state of their file.

Nothing is read from the file and no call of the session is made, so neither a write nor the picture waits. Only the
chunk table is locked, while its columns are copied in memory.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from streamh5.arguments.memory_size import format_nbytes
from streamh5.display.cards import card_body, storage_pairs
from streamh5.display.document import fragment
from streamh5.display.elements import MAX_LINES, attribute_section, badge, facts, heading
from streamh5.display.object_tree import TreeItem, object_tree
from streamh5.engine.index_choice import choose_index
from streamh5.errors import counted, shown
from streamh5.filters.registry import filter_name
from streamh5.format.link import ExternalLink, SoftLink
from streamh5.handles.attributes import names_in_order
from streamh5.model.chunk_cells import ChunkCells, chunk_cells
from streamh5.model.chunk_map import ChunkMap
from streamh5.model.tree import DatasetNode, DatatypeNode, GroupNode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.handles.session import Session
    from streamh5.model.tree import LinkedTarget, Node

_MOODS = {"closed": "good", "given up": "bad"}
MAX_VALUE = 200
"""Most characters of the value of an attribute."""


def handle_html(kind: str, name: str, node: Node, session: Session, *, n_rows: int = 0) -> str:
    """Return the HTML of a handle.

    Parameters
    ----------
    kind, name
        Name of its class, and what names the object: a path, or the file.
    node
        The object.
    session
        The write that it belongs to.
    n_rows
        Rows of a dataset whose length is not known yet.
    """
    head = heading(f"streamh5.{kind}", name, badge(session.state, _MOODS.get(session.state, "soft")))
    if isinstance(node, DatasetNode):
        return fragment(head, card_body(*_dataset(node, n_rows)), _attribute_section(node))
    if isinstance(node, DatatypeNode):
        return fragment(head, facts([("dtype", node.dtype)]), _attribute_section(node))
    items = list(_members(node))
    return fragment(head, object_tree(items) if items else "no objects", _attribute_section(node))


def _dataset(node: DatasetNode, n_rows: int) -> tuple[list[tuple[str, object]], ChunkCells | None]:
    """Return the facts of a dataset, and its chunk map; None if it is not in memory."""
    spec, shape = node.spec, node.shape
    if shape and spec.shape and spec.shape[0] is None:
        shape = (max(shape[0], n_rows), *shape[1:])
    is_known = spec.chunks is not None and node.chunk_table is not None
    numbers, stored = node.table.sizes() if is_known else (np.zeros(0, np.intp), np.zeros(0, np.uint32))
    storage = "virtual" if node.is_virtual else "in memory until the file is closed"
    if spec.chunks is not None:
        storage = choose_index(spec, node.n_numbers, len(numbers)).value if is_known else "as in the file"
    pairs = storage_pairs(
        shape=shape,
        maxshape=spec.maxshape,
        dtype=spec.dtype,
        chunks=spec.chunks,
        filters=[filter_name(record) for record in spec.filters],
        storage=storage,
    )
    if not is_known:
        return pairs, None
    nbytes = int(np.prod(shape or (), dtype=np.float64)) * spec.element_nbytes
    stored_nbytes = int(stored.sum(dtype=np.uint64))
    ratio = f", ratio {nbytes / stored_nbytes:.2f}" if stored_nbytes and len(numbers) == node.n_chunks else ""
    pairs.append(("size", f"{format_nbytes(nbytes)}, {format_nbytes(stored_nbytes)} stored{ratio}"))
    nothing = np.broadcast_to(np.uint64(0), len(numbers))
    grid = node.grid
    stored_map = ChunkMap(grid, numbers.astype(np.int64), nothing, stored, nothing.astype(np.uint32))
    present = stored_map.present() if grid.n_chunks else stored_map.take(np.zeros(0, np.intp))
    return pairs, chunk_cells(grid.present, present.numbers, present.stored_nbytes)


def _attributes(node: Node) -> list[tuple[str, str]]:
    """Return names and values of the attributes that are shown; those of an existing file are not read."""
    specs = dict(node.attributes)
    names = islice(names_in_order(node, specs), MAX_LINES)
    return [
        (name, shown(spec.value, MAX_VALUE, quoted=False) if spec.read_value is None else "(in the file)")
        for name in names
        for spec in (specs[name],)
    ]


def _attribute_section(node: Node) -> str:
    return attribute_section(_attributes(node), len(node.attributes))


def _members(group: GroupNode) -> Iterator[TreeItem]:
    links = dict(group.links)
    for name in names_in_order(group, links):
        yield _item(name, links[name])


def _item(name: str, target: LinkedTarget) -> TreeItem:
    match target:
        case GroupNode():
            n = len(target.links)
            return TreeItem(name, counted(n, "object"), lambda: _members(target), n)
        case DatasetNode():
            chunks = "" if target.spec.chunks is None else f", chunks {target.spec.chunks}"
            shape = "null" if target.shape is None else target.shape
            return TreeItem(name, f"{shape} {target.spec.dtype}{chunks}")
        case DatatypeNode():
            return TreeItem(name, f"datatype {target.dtype}")
        case SoftLink():
            return TreeItem(name, f"\N{RIGHTWARDS ARROW} {target.path}")
        case ExternalLink():
            return TreeItem(name, f"\N{RIGHTWARDS ARROW} {target.filename}:{target.path}")
    return TreeItem(name, "link")
