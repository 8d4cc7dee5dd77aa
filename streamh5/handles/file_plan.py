"""``FilePlan``: all objects of a file before its first block, as values, and their creation.

Sources of every kind (HDF5, netCDF, zarr, xarray) describe their contents by such a plan. A plan needs no file, so it
can be checked, or replaced by another, before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from streamh5.handles.region_plan import PlannedRegion
from streamh5.model.tree import DatatypeNode, GroupNode, LinkValue, find

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.filters import FilterChain
    from streamh5.handles.dataset import Dataset
    from streamh5.handles.file import File
    from streamh5.model.attribute_spec import AttributeSpec
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.tree import Node


@dataclass(frozen=True, slots=True)
class PlannedLink:
    """An additional name for the planned object at `path`."""

    path: str


@dataclass(frozen=True, slots=True, eq=False)
class PlannedDataset:
    """A dataset to create.

    Parameters
    ----------
    spec, chain
        The plan and the filters of the dataset.
    source
        Identity of the source that the dataset is written from, for a resume.
    begin
        Called with the dataset after all objects and attributes are created and before the first block: it writes a
        value that comes in one piece.
    value
        The value of a dataset without chunks, with which it is created.
    """

    spec: DatasetSpec
    chain: FilterChain
    source: str | None = None
    begin: Callable[[Dataset], None] | None = None
    value: NDArray[Any] | None = None


PlannedObject: TypeAlias = GroupNode | DatatypeNode | PlannedDataset | PlannedRegion | LinkValue | PlannedLink


@dataclass(slots=True)
class FilePlan:
    """Objects and attributes of a file.

    Parameters
    ----------
    objects
        Objects by absolute path, in the order of creation: parents and targets of hard links come first. The
        root group may be among them; an existing group stays unchanged.
    attributes
        The attributes of each object, in their order.
    write_empty_chunks
        False leaves out chunks that contain only the fill value.
    guard
        Returns the context in which the object at a path, its attributes or its value are created; an object whose
        error the context suppresses is left out.
    """

    objects: dict[str, PlannedObject] = field(default_factory=dict)
    attributes: dict[str, list[AttributeSpec]] = field(default_factory=dict)
    write_empty_chunks: bool = True
    guard: Callable[[str], AbstractContextManager[object]] = nullcontext

    def create(self, file: File) -> None:
        """Create everything except the blocks.

        Objects and attributes come first, so that all of them lie before the data.
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
                        value=planned.value,
                    )
                    nodes[path] = dataset.node
                    datasets.append((planned, dataset))
                elif isinstance(planned, PlannedRegion):
                    nodes[path] = planned.open(file).node
                else:
                    node = _created(file, path, planned, nodes)
                    if node is not None:
                        nodes[path] = node
        for path, attributes in self.attributes.items():
            if path in nodes:  # the guard may have left the object out
                # one for all of them: what refuses one is their number, which refuses those that follow, too
                with self.guard(path):
                    file.session.set_attributes(nodes[path], attributes)
        for planned, dataset in datasets:
            if planned.begin is not None:
                with self.guard(dataset.name):
                    planned.begin(dataset)


def _created(
    file: File, path: str, planned: GroupNode | DatatypeNode | LinkValue | PlannedLink, nodes: dict[str, Node]
) -> Node | None:
    """Create a group, a named datatype or a link; return the new object, None for a link."""
    match planned:
        case GroupNode():
            found = find(file.session.root, path)
            if isinstance(found, GroupNode):
                return found
            return file.session.create_group(path, track_order=planned.track_order)
        case DatatypeNode():
            file.session.create_datatype(planned)
            return planned
        case PlannedLink():
            if planned.path in nodes:  # the guard may have left its target out
                file.session.link(path, nodes[planned.path])
        case _:
            file.session.link(path, planned)
    return None
