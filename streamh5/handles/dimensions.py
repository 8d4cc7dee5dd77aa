"""``Dataset.dims``: labels and scales of dimensions, as in h5py; what they write is in `model/dimension_scale.py`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

from streamh5.errors import AttributeValueError, PathError, SpecError, counted, shown
from streamh5.format.character_set import decode_text
from streamh5.model.dimension_scale import (
    dimension_labels,
    dimension_list,
    is_scale_class,
    labels_of_dimensions,
    name_of_scale,
    reference_list,
    scale_class,
    scale_name,
    scales_of_dimensions,
    uses_of_scale,
)
from streamh5.model.reference import Reference, StoredReference
from streamh5.model.tree import DatasetNode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.handles.dataset import Dataset
    from streamh5.handles.dataset_facts import DatasetFacts
    from streamh5.handles.session import Session
    from streamh5.model.reference import Part

T = TypeVar("T")

_LOCK = threading.RLock()
"""Held while an attribute that lists scales or their uses is read and written again: two threads may attach one scale.

It is acquired inside a call of the session, and no other lock is held then.
"""

_RESERVED_CLASSES = ("IMAGE", "PALETTE", "TABLE")
"""Values of CLASS of HDF5's other high-level objects, which have no scales (``H5DS_is_reserved``)."""


class DimensionManager:
    """The dimensions of a dataset: ``d.dims[0]``; made by `Dataset.dims`.

    Examples
    --------
    >>> with streamh5.File("x.h5", "w") as f:
    ...     f["x"] = np.zeros((10, 3))
    ...     for dimension, label in zip(f["x"].dims, ("time", "channel")):
    ...         dimension.label = label
    ...     f["x"].dims[0]
    <'time' dimension 0 of /x>
    """

    def __init__(self, dataset: DatasetFacts) -> None:
        self._dataset = dataset

    def __getitem__(self, axis: int) -> DimensionProxy:
        """Return one dimension.

        Parameters
        ----------
        axis
            Its number, from 0 on.

        Raises
        ------
        IndexError
            The dataset has no such dimension.
        """
        if not 0 <= axis < len(self):
            raise IndexError(
                f"{self._dataset.name} has {counted(len(self), 'dimension')}, no dimension {axis}"
            )
        return DimensionProxy(self._dataset, axis)

    def __len__(self) -> int:
        return self._dataset.ndim

    def __iter__(self) -> Iterator[DimensionProxy]:
        return (self[axis] for axis in range(len(self)))

    def __repr__(self) -> str:
        return f"<dimensions of {self._dataset.name}: {len(self)}>"


class DimensionProxy:
    """One dimension of a dataset: its label and its scales; made by ``d.dims[axis]``.

    As in h5py, a sequence of scales by number, and a mapping of scales by name: ``d.dims[0][0]``,
    ``d.dims[0]["time"]``.

    Examples
    --------
    >>> with streamh5.File("x.h5", "w") as f:
    ...     f["x"], f["time"] = np.zeros((10, 3)), np.arange(10.0)
    ...     f["time"].make_scale("time")
    ...     rows = f["x"].dims[0]
    ...     rows.attach_scale(f["time"])
    ...     rows.label = "rows"
    ...     print(rows.keys(), rows.values() == [f["time"]], rows.items()[0][0], rows["time"].name, rows[0].name)
    ...     rows.detach_scale(f["time"])
    ['time'] True time /time /time
    """

    def __init__(self, dataset: DatasetFacts, axis: int) -> None:
        self._dataset = dataset
        self._axis = axis

    @property
    def label(self) -> str:
        """Label of the dimension; empty if it has none. It can be set."""
        return self._labels()[self._axis]

    @label.setter
    def label(self, text: str | bytes) -> None:
        label = _text(text, f"the label of dimension {self._axis} of {self._dataset.name}")
        session = self._dataset.session
        with session.call(), _LOCK:
            labels = self._labels()
            labels[self._axis] = label
            session.set_attribute(self._dataset.node, dimension_labels(labels))

    def attach_scale(self, dset: Dataset) -> None:
        """Make a dataset a scale of this dimension; netCDF tools then show the dimension under its name.

        Parameters
        ----------
        dset
            A dataset of the same file, usually of one dimension and of the same length. It becomes a scale if it is
            none (see `Dataset.make_scale`). A scale that is attached already stays as it is.

        Raises
        ------
        SpecError
            This dataset is a scale, `dset` has scales, or both are the same.
        PathError
            `dset` belongs to another file.
        StateError
            The file is closed.
        """
        node, session = self._dataset.node, self._dataset.session
        scale = _scale_of(dset, session)
        _check_pair(node, scale)
        with session.call(), _LOCK:
            scales = self._scales()
            if scale in scales[self._axis]:
                return
            scales[self._axis].append(scale)
            session.set_attribute(node, dimension_list(_references(scales)))
            add_use(session, scale, node.path, self._axis)
            if not is_scale(scale):
                session.set_attribute(scale, scale_class())

    def detach_scale(self, dset: Dataset) -> None:
        """Undo `attach_scale`; the scale remains one.

        Parameters
        ----------
        dset
            The scale.

        Raises
        ------
        SpecError
            It is not attached to this dimension.
        PathError
            It belongs to another file.
        StateError
            The file is closed.
        """
        node, session = self._dataset.node, self._dataset.session
        scale = _scale_of(dset, session)
        with session.call(), _LOCK:
            scales, uses = self._scales(), _uses(session, scale)
            if not _take(scales[self._axis], scale):
                raise SpecError(f"{scale.path} is not a scale of dimension {self._axis} of {node.path}")
            _take(uses, (node, self._axis))
            if any(scales):
                session.set_attribute(node, dimension_list(_references(scales)))
            else:
                session.remove_attribute(node, "DIMENSION_LIST")
            if uses:
                session.set_attribute(scale, reference_list([(Reference(one.path), n) for one, n in uses]))
            elif "REFERENCE_LIST" in scale.attributes:
                session.remove_attribute(scale, "REFERENCE_LIST")

    def keys(self) -> list[str]:
        """Return the names of the scales."""
        return [name for name, _ in self.items()]

    def values(self) -> list[Dataset]:
        """Return the scales."""
        return [scale for _, scale in self.items()]

    def items(self) -> list[tuple[str, Dataset]]:
        """Return the names and the scales."""
        nodes = self._scales()[self._axis]
        return [(name_of_scale(node.attributes.get("NAME")), self._handle(node)) for node in nodes]

    def __getitem__(self, key: int | str | bytes) -> Dataset:
        """Return a scale by its number or its name.

        Parameters
        ----------
        key
            Number or name.

        Raises
        ------
        IndexError, KeyError
            There is none of that number, or of that name.
        """
        if isinstance(key, int):
            return self._handle(self._scales()[self._axis][key])
        name = decode_text(key)
        found = next((scale for one, scale in self.items() if one == name), None)
        if found is None:
            raise KeyError(f"dimension {self._axis} of {self._dataset.name} has no scale {name!r}")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._scales()[self._axis])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DimensionProxy) and hash(other) == hash(self)

    def __hash__(self) -> int:
        return hash((DimensionProxy, self._dataset, self._axis))

    def __repr__(self) -> str:
        return f"<{self.label!r} dimension {self._axis} of {self._dataset.name}>"

    def _labels(self) -> list[str]:
        attribute = self._dataset.node.attributes.get("DIMENSION_LABELS")
        return labels_of_dimensions(attribute, self._dataset.ndim)

    def _scales(self) -> list[list[DatasetNode]]:
        """Return the scales of each dimension, without those that are not in the file any more."""
        attribute = self._dataset.node.attributes.get("DIMENSION_LIST")
        parts = scales_of_dimensions(attribute, self._dataset.ndim)
        session = self._dataset.session
        return [[node for part in each if (node := _target(session, part)) is not None] for each in parts]

    def _handle(self, node: DatasetNode) -> Dataset:
        return cast("Dataset", self._dataset.file[node.path])


def _take(items: list[T], item: T) -> bool:
    """Remove an item, in whose place the last one moves, as ``H5DSdetach_scale`` does; return whether it is there."""
    if item not in items:
        return False
    index, last = items.index(item), items.pop()
    if index < len(items):
        items[index] = last
    return True


def is_scale(node: DatasetNode) -> bool:
    """Return whether a dataset is a dimension scale."""
    attribute = node.attributes.get("CLASS")
    return attribute is not None and is_scale_class(attribute)


def make_scale(node: DatasetNode, session: Session, name: str | bytes) -> None:
    """Make a dataset a dimension scale; see `Dataset.make_scale`."""
    text = _text(name, f"the name of the scale {node.path}")
    if "DIMENSION_LIST" in node.attributes:
        raise SpecError(f"{node.path} has scales, so it cannot be a scale itself (H5DSset_scale)")
    with session.call(), _LOCK:
        session.set_attribute(node, scale_class())
        session.set_attribute(node, scale_name(text))


def add_use(session: Session, scale: DatasetNode, path: str, axis: int) -> None:
    """Enter in the REFERENCE_LIST of a scale that dimension `axis` of the dataset at `path` uses it."""
    with _LOCK:
        uses = [(Reference(node.path), n) for node, n in _uses(session, scale)]
        session.set_attribute(scale, reference_list([*uses, (Reference(path), axis)]))


def _uses(session: Session, scale: DatasetNode) -> list[tuple[DatasetNode, int]]:
    """Return the datasets that use a scale, with the numbers of dimensions, without those that were deleted."""
    uses = uses_of_scale(scale.attributes.get("REFERENCE_LIST"))
    return [(node, axis) for part, axis in uses if (node := _target(session, part)) is not None]


def _references(scales: list[list[DatasetNode]]) -> list[list[Reference]]:
    return [[Reference(node.path) for node in each] for each in scales]


def _check_pair(node: DatasetNode, scale: DatasetNode) -> None:
    """Refuse what ``H5DSattach_scale`` refuses.

    Raises
    ------
    SpecError
        See `DimensionProxy.attach_scale`.
    """
    if node is scale:
        raise SpecError(f"{node.path} cannot be a scale of itself")
    if is_scale(node):
        raise SpecError(f"{node.path} is a dimension scale, and scales have no scales (H5DSattach_scale)")
    if "DIMENSION_LIST" in scale.attributes:
        raise SpecError(f"{scale.path} has scales, so it cannot be a scale itself (H5DSattach_scale)")
    attribute = node.attributes.get("CLASS")
    if attribute is not None and name_of_scale(attribute).startswith(_RESERVED_CLASSES):
        raise SpecError(
            f"{node.path} is of class {name_of_scale(attribute)}, which has no scales (H5DSattach_scale)"
        )


def _scale_of(dset: Dataset, session: Session) -> DatasetNode:
    node = getattr(dset, "node", None)
    if not isinstance(node, DatasetNode):
        raise SpecError(f"a scale is a streamh5.Dataset, not {shown(dset)}")
    if dset.session is not session:
        raise PathError(
            f"{node.path} belongs to another file, and scales are of the same file", path=node.path
        )
    return node


def _target(session: Session, part: Part) -> DatasetNode | None:
    """Return the dataset that a part of an attribute refers to; None if it is not in the file any more."""
    node = session.object_of(part) if isinstance(part, (Reference, StoredReference)) else None
    return node if isinstance(node, DatasetNode) else None


def _text(text: Any, what: str) -> str:
    if not isinstance(text, (str, bytes)) or "\0" in decode_text(text):
        raise AttributeValueError(f"{what} must be a str without NUL, not {shown(text)}")
    return decode_text(text)
