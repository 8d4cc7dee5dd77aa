"""``FileTree``: the tree of one file, and every change of it. Without locks: the engine, which owns it, has one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streamh5.engine.metadata_plan import Front
from streamh5.engine.reference_targets import ReferenceTargets
from streamh5.engine.type_users import follow_types, type_users
from streamh5.errors import DatatypeError, PathError
from streamh5.format.link import Link, encode_link
from streamh5.model.chunk_table import ChunkTable
from streamh5.model.links import check_link, make_parents, release, rename, take_link
from streamh5.model.object_path import join_path, split_path
from streamh5.model.parts import encode_parts
from streamh5.model.reference import Reference
from streamh5.model.resized import resize_dataset
from streamh5.model.tree import (
    DatasetNode,
    DatatypeNode,
    GroupNode,
    LinkValue,
    Node,
    find,
    put_attribute,
    walk,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamh5.model.attribute_spec import AttributeSpec
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.reference import Parts, StoredReference
    from streamh5.model.tree import LinkedTarget

_NO_CHUNKS = ChunkTable(0, 0, filtered=False)
"""The table of all data without chunks, which `make_chunked` replaces: a file may have many small datasets."""


class FileTree:
    """The objects of one file.

    Parameters
    ----------
    track_order
        Track and index the creation order of links and attributes of the root group.

    Attributes
    ----------
    root
        The root group.
    front
        The front region; empty before it is laid out, and once it is in use.
    unused_nbytes
        Bytes of objects that were deleted, and of headers and indexes that were replaced.
    """

    def __init__(self, *, track_order: bool = False) -> None:
        self.root = GroupNode("/", track_order)
        self.front = Front({}, {}, None, 0)
        self.unused_nbytes = 0
        self._stored: dict[int, Node] = {}
        self._former: dict[str, Node] = {}
        self._placed: set[str] = set()

    def continue_from(self, root: GroupNode) -> None:
        """Take the tree of an existing file."""
        self.root = root
        self._stored = {node.stored_address: node for node in walk(root) if node.stored_address is not None}
        for node, n_users in self.targets().users().items():
            if isinstance(node, DatatypeNode):  # the count in its header is that of names and users
                node.n_users, node.n_links = n_users, node.n_links - n_users

    def targets(self) -> ReferenceTargets:
        """Return where references of the present tree lead."""
        return ReferenceTargets(self.root, self._stored, self._former)

    def object_of(self, reference: Reference | StoredReference) -> Node | None:
        """Return the object to which a reference leads; None if it is not in the file."""
        if isinstance(reference, Reference):
            node = find(self.root, reference.path) or self._former.get(reference.path)
        else:
            node = self._stored.get(reference.address)
        return node if node is not None and find(self.root, node.path) is node else None

    def adopt(self, node: Node) -> None:
        """Give an object its places in the front region, if it has some there.

        Those of an earlier object of the same path stay with that object, which may have another name now.
        """
        if node.path in self._placed or node.path not in self.front.headers:
            return
        self._placed.add(node.path)
        node.header = self.front.headers[node.path]
        if isinstance(node, DatasetNode):
            node.index = self.front.indexes.get(node.path)
        elif isinstance(node, GroupNode):
            node.dense_links = self.front.indexes.get(node.path)

    def create_group(self, path: str, *, track_order: bool = False) -> GroupNode:
        """Add a group, with its parents where missing.

        Raises
        ------
        PathError
            The path is taken or leads through a dataset.
        """
        parent, name = make_parents(self.root, path, track_order=track_order)
        group = GroupNode(f"{parent.path.rstrip('/')}/{name}", track_order)
        parent.links[name] = group
        self.adopt(group)
        return group

    def create_datatype(self, datatype: DatatypeNode) -> None:
        """Add a named datatype, with its parent groups where missing.

        Raises
        ------
        PathError
            The path is taken or leads through a dataset.
        """
        parent, name = make_parents(self.root, datatype.path, track_order=datatype.track_order)
        parent.links[name] = datatype
        self.adopt(datatype)

    def create_dataset(self, spec: DatasetSpec, value: np.ndarray[Any, Any] | None = None) -> DatasetNode:
        """Add a dataset, with its parent groups where missing.

        Parameters
        ----------
        spec
            Its plan.
        value
            Its data, if it has no chunks; see `set_value`.

        Raises
        ------
        PathError
            The path is taken or leads through a dataset.
        """
        table = _NO_CHUNKS
        if spec.chunks is not None:
            table = ChunkTable(spec.grid.n_numbers or 0, spec.chunk_nbytes, filtered=bool(spec.filters))
        dataset = DatasetNode(spec, table, is_data_changed=True, is_written=True)
        if value is not None:
            self.set_value(dataset, dataset.with_part(..., value))
        parent, name = make_parents(self.root, spec.path, track_order=spec.track_order)
        parent.links[name] = dataset
        self.adopt(dataset)
        return dataset

    def remove_dataset(self, dataset: DatasetNode) -> None:
        """Remove a dataset whose data could not be written."""
        if find(self.root, dataset.path) is dataset:
            take_link(self.root, dataset.path)

    def remove(self, path: str) -> None:
        """Remove a link; an object without links is deleted, and references to it become null.

        Raises
        ------
        PathError
            There is no such link, or it is the root group.
        """
        path = join_path(split_path(path))
        check_link(self.root, path)
        users = type_users(self.root, path)
        target = take_link(self.root, path)
        if isinstance(target, Node):
            self._former |= {inner.path: inner for inner in walk(target)} | {path: target}
            for node in release(self.root, target):
                self.unused_nbytes += node.header_nbytes
                if isinstance(node, DatasetNode):
                    self.unused_nbytes += node.table.counts.stored_nbytes + node.data_nbytes
            follow_types(self.root, users)

    def move(self, source: str, destination: str) -> None:
        """Give a link another name, or another group, which is created with its parents where missing.

        Raises
        ------
        PathError
            There is no such link, the new name is taken, or it is inside the object itself.
        """
        old, new = join_path(split_path(source)), join_path(split_path(destination))
        if new == old or new.startswith(f"{old}/"):
            raise PathError(f"{old} cannot be moved to {new}, which is the same or inside it", path=new)
        check_link(self.root, old)
        parent, name = make_parents(self.root, new, track_order=self.root.track_order)
        users = type_users(self.root, old)
        target = take_link(self.root, old)
        parent.links[name] = target
        if isinstance(target, Node):
            target.n_links += 1
            self._former |= {inner.path: inner for inner in walk(target)}
            # its path may be another one of the same link, through another name of the group
            if target.path == old or find(self.root, target.path) is not target:
                rename(target, new)
            follow_types(self.root, users)

    def resize(
        self, dataset: DatasetNode, shape: tuple[int, ...], maxshape: tuple[int | None, ...] | None
    ) -> None:
        """Change the shape of a dataset that has chunks; chunks outside the new shape are dropped.

        Parameters
        ----------
        dataset
            The dataset.
        shape, maxshape
            Its new shape, and its new maximum shape; None if that is the shape.
        """
        resize_dataset(dataset, shape, maxshape)
        _mark_written(dataset)

    def make_chunked(self, dataset: DatasetNode, chunks: tuple[int, ...]) -> None:
        """Give a dataset without chunks an empty chunk table; its elements are to be written again."""
        dataset.spec = replace(dataset.spec, chunks=chunks)
        n_numbers = dataset.spec.grid.n_numbers or 0
        dataset.chunk_table = ChunkTable(n_numbers, dataset.spec.chunk_nbytes, filtered=False)
        dataset.value = dataset.parts = None
        _mark_written(dataset)

    def set_attribute(self, node: Node, attribute: AttributeSpec) -> None:
        """Set an attribute of an object; one of the same name is replaced."""
        put_attribute(node, attribute)
        node.is_changed = True

    def remove_attribute(self, node: Node, name: str) -> None:
        """Remove an attribute of an object."""
        del node.attributes[name]
        node.is_changed = True

    def record(self, dataset: DatasetNode, records: ChunkRecords) -> None:
        """Enter written chunks, ``(n,)`` of `RECORD`, in the chunk table."""
        dataset.table.record(records)
        _mark_written(dataset)

    def find_chunks(self, dataset: DatasetNode, numbers: NDArray[np.uint64]) -> ChunkRecords:
        """Return the records of those of ``(n,)`` chunk numbers that are stored, in their order."""
        return dataset.table.find(numbers)

    def extend(self, dataset: DatasetNode, n_rows: int) -> None:
        """Extend a dataset of unknown length to at least `n_rows`."""
        if n_rows > dataset.n_rows:
            dataset.n_rows = n_rows
            _mark_written(dataset)

    def set_value(self, dataset: DatasetNode, value: np.ndarray[Any, Any]) -> None:
        """Set data without chunks: an array of the stored dtype, or of objects if the dataset has parts.

        Raises
        ------
        DatatypeError
            A value does not fit the dtype.
        """
        path = dataset.spec.path
        try:
            parts = encode_parts(value, dataset.spec.dtype) if dataset.spec.has_parts else None
        except DatatypeError as error:
            raise DatatypeError(f"{path}: {error}", path=path) from error
        dataset.value, dataset.parts = value, parts
        _mark_written(dataset)

    def set_parts(self, dataset: DatasetNode, parts: Parts) -> None:
        """Set data without chunks, given as parts: bytes, references and objects of variable length."""
        dataset.value, dataset.parts = None, parts
        _mark_written(dataset)

    def link(self, path: str, target: LinkedTarget) -> None:
        """Add a name of an object of this file, or a soft or external link.

        Raises
        ------
        PathError
            The name is taken.
        """
        if isinstance(target, LinkValue):
            encode_link(Link(split_path(path)[-1], target, 0))  # refuses targets that a link cannot store
        parent, name = make_parents(self.root, path, track_order=self.root.track_order)
        parent.links[name] = target
        if isinstance(target, Node):
            target.n_links += 1
            target.is_changed = True  # its header counts its names


def _mark_written(dataset: DatasetNode) -> None:
    dataset.is_data_changed = dataset.is_written = True
