"""``FilePlan``: what a file is to hold before its first block, as values; one place creates it.

Sources of every kind (HDF5, netCDF, zarr, xarray) turn what they have into such a plan, which needs no file yet, and so
can be checked, and dropped for another, before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from streamh5.model.tree import DatatypeNode, GroupNode, LinkValue, find

if TYPE_CHECKING:
    from streamh5.filters import FilterChain
    from streamh5.handles.dataset import Dataset
    from streamh5.handles.file import File
    from streamh5.model.attribute_spec import AttributeSpec
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.tree import Node


@dataclass(frozen=True, slots=True)
class HardLink:
    """One more name for the planned object at `path`."""

    path: str


@dataclass(frozen=True, slots=True, eq=False)
class PlannedDataset:
    """A dataset that is to be created.

    Parameters
    ----------
    spec, chain
        Its plan and its filters.
    source
        Identity of what it is written from, for a resume.
    begin
        Called with the dataset when all objects and attributes are there, before the first block: writes a value that
        comes in one piece, or tells those who read the blocks where objects of variable length go.
    """

    spec: DatasetSpec
    chain: FilterChain
    source: str | None = None
    begin: Callable[[Dataset], None] | None = None


PlannedObject: TypeAlias = GroupNode | DatatypeNode | PlannedDataset | LinkValue | HardLink


def _whatever(_path: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(slots=True)
class FilePlan:
    """Objects and attributes of a file.

    Parameters
    ----------
    objects
        By absolute path, in the order in which they are created: parents and what hard links lead to come first. The
        root group may be among them; a group that is there already stays as it is.
    attributes
        Of each object, in their order.
    write_empty_chunks
        False leaves chunks out that hold nothing but the fill value.
    guard
        Makes the context in which an object, an attribute or a value is created, given the path: what it suppresses is
        left out.
    """

    objects: dict[str, PlannedObject] = field(default_factory=dict)
    attributes: dict[str, list[AttributeSpec]] = field(default_factory=dict)
    write_empty_chunks: bool = True
    guard: Callable[[str], AbstractContextManager[None]] = _whatever

    def create(self, file: File) -> None:
        """Create everything but the blocks.

        Objects and attributes come before any data, so that all of them lie in front of it.
        """
        nodes: dict[str, Node] = {"/": file.node}
        datasets: list[tuple[PlannedDataset, Dataset]] = []
        for path, planned in self.objects.items():
            with self.guard(path):
                if isinstance(planned, PlannedDataset):
                    dataset = file.add_dataset(
                        planned.spec,
                        planned.chain,
                        source=planned.source,
                        write_empty_chunks=self.write_empty_chunks,
                    )
                    nodes[path] = dataset.node
                    datasets.append((planned, dataset))
                else:
                    node = _created(file, path, planned, nodes)
                    if node is not None:
                        nodes[path] = node
        for path, attributes in self.attributes.items():
            for attribute in attributes if path in nodes else ():  # the object may be left out
                with self.guard(path):
                    file.session.set_attribute(nodes[path], attribute)
        for planned, dataset in datasets:
            if planned.begin is not None:
                with self.guard(dataset.name):
                    planned.begin(dataset)


def _created(
    file: File, path: str, planned: GroupNode | DatatypeNode | LinkValue | HardLink, nodes: dict[str, Node]
) -> Node | None:
    """Create a group, a named datatype or a link; return the object that is new."""
    match planned:
        case GroupNode():
            found = find(file.session.root, path)
            if isinstance(found, GroupNode):
                return found
            return file.session.create_group(path, track_order=planned.track_order)
        case DatatypeNode():
            file.session.create_datatype(planned)
            return planned
        case HardLink():
            if planned.path in nodes:  # what it leads to may be left out
                file.session.link(path, nodes[planned.path])
        case _:
            file.session.link(path, planned)
    return None
