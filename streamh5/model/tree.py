"""The groups, datasets and named datatypes of one file, before they are encoded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from streamh5.errors import BlockError, LimitError, PathError
from streamh5.format.chunk_index.element import ChunkColumns
from streamh5.format.elements import encode_elements, padding_of
from streamh5.format.link import ExternalLink, SoftLink, UserDefinedLink
from streamh5.format.object_header import NO_FIELDS, OptionalFields
from streamh5.model.chunk_map import ChunkMap
from streamh5.model.hyperslab import refuse_field_names
from streamh5.model.object_path import split_path
from streamh5.model.reference import HeapObject, RegionReference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.format.datatype_class import EncodedDatatype
    from streamh5.model.attribute_spec import AttributeSpec
    from streamh5.model.chunk_grid import Box, ChunkGrid
    from streamh5.model.chunk_table import ChunkTable
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.reference import Parts
    from streamh5.model.stored_data import StoredData, StoredMessage


MAX_ORDERED_ATTRIBUTES = 65_535
"""The attribute info message stores the next creation order in 16 bits."""


@dataclass(frozen=True, slots=True)
class ReservedRange:
    """A range of addresses that was reserved before its content was known."""

    address: int
    nbytes: int


@dataclass(slots=True, eq=False, kw_only=True)
class ObjectNode:
    """What every object of the tree has.

    ``stored_address`` is the address of its header in the last generation of the file, and ``is_changed`` says that
    this header is out of date; ``header_nbytes`` is its size, with dense storage. ``messages`` are those of its
    messages that the model does not express, as an existing file has them. ``header`` is the range that was reserved
    for its header. ``optional`` are the optional fields of its header.
    """

    attributes: dict[str, AttributeSpec] = field(default_factory=dict)
    header: ReservedRange | None = None
    n_links: int = 1
    stored_address: int | None = None
    is_changed: bool = False
    header_nbytes: int = 0
    optional: OptionalFields = NO_FIELDS
    messages: tuple[StoredMessage, ...] = ()


@dataclass(slots=True, eq=False)
class GroupNode(ObjectNode):
    """A group: its links by name, in creation order, and its attributes.

    ``dense_links`` is the region that is reserved for links outside of its header.
    """

    path: str
    track_order: bool = False
    links: dict[str, LinkedTarget] = field(default_factory=dict)
    dense_links: ReservedRange | None = None


@dataclass(slots=True, eq=False)
class DatatypeNode(ObjectNode):
    """A named datatype, with its attributes and the number of its users.

    ``datatype`` is its message if that differs from the message of `dtype`. ``n_users`` counts the datasets and
    attributes of this type; the reference count of its header is that number and the number of its names.
    """

    path: str
    dtype: np.dtype[Any]
    datatype: EncodedDatatype | None = None
    track_order: bool = False
    n_users: int = 0


@dataclass(slots=True, eq=False)
class DatasetNode(ObjectNode):
    """A dataset: its spec, the table of its chunks, and its attributes.

    ``value`` is data without chunks, as stored; data with references or in the global heap is there as given, and
    ``parts`` are its bytes. ``n_rows`` is the leading extent if the spec leaves it open. ``chunk_region`` is the range
    of the chunks of an Implicit index. ``data_address`` is the address of data without chunks, or of the chunk index,
    in the last generation of the file, inside the object header if the data is compact; ``data_nbytes`` is its size.
    ``number`` names the dataset in the journal, if something of it is there. ``mappings`` are those of a virtual
    dataset. ``stored`` is what the existing file has of it. ``is_data_changed`` says that the last generation does
    not have its present index or data, ``is_written`` that this write has changed them. ``incomplete`` has the coords
    of the stored chunks of which this write has not set every element, and the box that it has set; None if the
    elements are not a box, or not known.
    ``reference_chunks`` are its chunks that hold references, by address, once they were read; ``moves_chunks`` says
    that the next generation writes them, because they refer to objects that move. ``source`` is the
    identity of what is written to a dataset of the existing file, for a resume.
    """

    spec: DatasetSpec
    chunk_table: ChunkTable | None = None
    n_rows: int = 0
    value: np.ndarray[Any, Any] | None = None
    parts: Parts | None = None
    index: ReservedRange | None = None
    chunk_region: ReservedRange | None = None
    data_address: int | None = None
    data_nbytes: int = 0
    n_empty: int = 0
    number: int | None = None
    source: str | None = None
    mappings: HeapObject | None = None
    stored: StoredData | None = None
    is_data_changed: bool = False
    is_written: bool = False
    incomplete: dict[tuple[int, ...], Box | None] = field(default_factory=dict)
    reference_chunks: dict[int, Parts] = field(default_factory=dict)
    moves_chunks: bool = False

    def __post_init__(self) -> None:
        spec = self.spec
        if spec.fill_parts is not None and spec.is_compact and self.stored is None:
            n = spec.value_nbytes // spec.element_nbytes
            self.parts = [part for _ in range(n) for part in spec.fill_element()]
        if spec.virtual:
            self.mappings = HeapObject(len(spec.virtual), (spec.virtual,))

    @property
    def table(self) -> ChunkTable:
        """Its chunk table; that of an existing dataset is read when it is first needed."""
        if self.chunk_table is None:
            if self.stored is None:
                raise ValueError(f"{self.path} has no chunk table")
            self.chunk_table, self.data_nbytes = self.stored.read_table()
        return self.chunk_table

    @property
    def path(self) -> str:
        """Absolute path."""
        return self.spec.path

    @property
    def track_order(self) -> bool:
        """Whether the creation order of attributes is tracked."""
        return self.spec.track_order

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Present shape: an open leading extent is the number of rows written."""
        shape = self.spec.shape
        if not shape or shape[0] is not None:
            return shape  # type: ignore[return-value] # only the leading extent may be open
        return (self.n_rows, *shape[1:])  # type: ignore[arg-type]

    @property
    def grid(self) -> ChunkGrid:
        """The chunk grid over the present shape; only for a dataset with chunks."""
        return self.spec.grid.with_length((self.shape or (0,))[0])

    @property
    def n_chunks(self) -> int:
        """Chunks of the present shape."""
        return 0 if self.spec.chunks is None else self.grid.n_chunks or 0

    @property
    def n_numbers(self) -> int:
        """Chunks of the grid that numbers them, over the maximum shape."""
        return 0 if self.spec.chunks is None else self.grid.n_numbers or math.prod(self.grid.counts)

    @property
    def is_virtual(self) -> bool:
        """Whether its elements are in other datasets."""
        return self.spec.virtual is not None or (self.stored is not None and self.stored.is_virtual)

    @property
    def chunk_map(self) -> ChunkMap:
        """The chunk map of the written chunks; an Implicit index has all chunks, written or not."""
        n_numbers, nbytes = self.n_numbers, self.spec.chunk_nbytes
        if self.chunk_region is None:
            numbers, columns = self.table.written(n_numbers)
        else:
            numbers = np.arange(n_numbers)
            positions = numbers.astype(np.uint64) * np.uint64(nbytes)
            columns = ChunkColumns(np.uint64(self.chunk_region.address) + positions)
        return ChunkMap.of(self.grid, numbers, columns, nbytes)

    @property
    def has_value(self) -> bool:
        """Whether data without chunks was written."""
        return self.value is not None or self.parts is not None

    @property
    def value_parts(self) -> Parts:
        """Data without chunks, mixed with references and heap objects."""
        return (self.value_bytes,) if self.parts is None else self.parts

    @property
    def value_bytes(self) -> bytes:
        """Data without chunks; the fill value if nothing was written."""
        if self.value is not None and not self.spec.has_parts:
            return self.bytes_of(self.value)
        fill = self.spec.fillvalue
        element = bytes(self.spec.element_nbytes) if fill is None or self.spec.has_parts else fill.tobytes()
        return element * (self.spec.value_nbytes // len(element))

    def bytes_of(self, value: np.ndarray[Any, Any]) -> bytes:
        """Return the bytes of data without chunks that has no parts."""
        is_plain = padding_of(value.dtype) is None and value.dtype.names is None
        return value.tobytes() if is_plain else encode_elements(value, value.dtype)

    def with_part(self, region: Any, block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the data without chunks, with one region replaced.

        Raises
        ------
        BlockError
            The block does not fit the region, or the region does not fit the dataset.
        """
        if self.is_virtual:
            raise BlockError(f"{self.path} is a virtual dataset; write to its sources")
        refuse_field_names(region, self.path)
        try:
            whole = self.whole()
        except MemoryError as error:
            raise LimitError(
                f"{self.path}: its {self.spec.value_nbytes:,} bytes are kept in memory until the file is closed, but "
                "there is not enough; create it with chunks",
                path=self.path,
                nbytes=self.spec.value_nbytes,
            ) from error
        try:
            whole[_of_elements(region) if whole.dtype.hasobject else region] = block
        except (IndexError, TypeError, ValueError) as error:
            raise BlockError(
                f"{self.path}: a block of shape {block.shape} does not fit the region {region!r} of a dataset "
                f"of shape {self.shape}: {error}",
                block_shape=block.shape,
                region=region,
            ) from error
        return whole

    def whole(self) -> np.ndarray[Any, Any]:
        """Return a copy of the data without chunks; the fill value if nothing was written."""
        if self.value is None and self.stored is not None and not self.is_written:
            return self.stored.read_value()
        if self.value is not None:
            return self.value.copy()
        if self.spec.has_parts:
            whole = np.zeros(self.shape or (), self.spec.dtype)
            if self.spec.fillvalue is not None:
                whole[...] = self.spec.fillvalue
            return whole
        return np.frombuffer(bytearray(self.value_bytes), self.spec.stored_dtype).reshape(self.shape or ())


def _of_elements(region: Any) -> Any:
    """Return a region that selects an array of objects, also if it is one element."""
    keys = region if isinstance(region, tuple) else (region,)
    is_open = any(key is Ellipsis or isinstance(key, (str, list)) for key in keys)
    return region if is_open else (*keys, ...)


Node: TypeAlias = GroupNode | DatasetNode | DatatypeNode
LinkValue: TypeAlias = SoftLink | ExternalLink | UserDefinedLink
LinkedTarget: TypeAlias = Node | LinkValue


def find(root: GroupNode, path: str) -> Node | None:
    """Return the object at `path`; None if there is none."""
    node: Node = root
    for name in split_path(path):
        if not isinstance(node, GroupNode) or name not in node.links:
            return None
        target = node.links[name]
        if isinstance(target, LinkValue):
            return None
        node = target
    return node


def check_region(reference: RegionReference, node: Node) -> None:
    """Refuse a region reference whose region is not inside its dataset.

    Raises
    ------
    PathError
        It is not.
    """
    shape = node.shape if isinstance(node, DatasetNode) else None
    for box in reference.boxes:
        if (
            shape is None
            or len(box) != len(shape)
            or any(p.stop > n for p, n in zip(box, shape, strict=True))
        ):
            raise PathError(
                f"a reference points to the region {reference.region!r} of {reference.path}, of shape {shape}",
                path=reference.path,
            )


def put_attribute(node: Node, attribute: AttributeSpec) -> None:
    """Add an attribute to an object, or replace the one of the same name.

    Raises
    ------
    LimitError
        There are more than `MAX_ORDERED_ATTRIBUTES`, and their creation order is tracked.
    """
    old = node.attributes.get(attribute.name)
    if old is None and node.track_order and len(node.attributes) == MAX_ORDERED_ATTRIBUTES:
        raise LimitError(
            f"{node.path} has {MAX_ORDERED_ATTRIBUTES:,} attributes, the maximum for which HDF5 tracks the "
            "creation order; omit track_order",
            path=node.path,
            name=attribute.name,
        )
    node.attributes[attribute.name] = attribute


def walk(node: Node) -> Iterator[Node]:
    """Yield every object from `node` on once, children before their group."""
    # with a list instead of recursion, because groups may be nested more deeply than Python's stack allows
    seen = {id(node)}
    entered: list[tuple[Node, Iterator[LinkedTarget]]] = [(node, _targets(node))]
    while entered:
        inner, targets = entered[-1]
        for child in targets:
            if isinstance(child, Node) and id(child) not in seen:
                seen.add(id(child))
                if isinstance(child, GroupNode):
                    entered.append((child, _targets(child)))
                    break
                yield child
        else:
            entered.pop()
            yield inner


def _targets(node: Node) -> Iterator[LinkedTarget]:
    return iter(node.links.values() if isinstance(node, GroupNode) else ())
