"""What a dataset that is being written is: shape, dtype, chunks, filters."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import StateError
from streamh5.filters.registry import REGISTRY
from streamh5.handles.attributes import Handle
from streamh5.handles.dimensions import DimensionManager, is_scale, make_scale
from streamh5.model.tree import DatasetNode

if TYPE_CHECKING:
    from streamh5.handles.file import File


class DatasetFacts(Handle[DatasetNode]):
    """The properties of a `Dataset`, with the names of h5py."""

    @property
    @abstractmethod
    def n_appended(self) -> int:
        """Number of rows appended."""

    @property
    def file(self) -> File:
        """The `File` that contains the dataset, while it is open."""
        if self.session.file is None:
            raise StateError(f"{self.name}: {self.session.sink.name} is {self.session.state}")
        return self.session.file

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Current shape; the leading extent grows if it was given as None."""
        shape = self._node.shape
        if shape is not None and self._node.spec.shape is not None and None in self._node.spec.shape:
            return (max(shape[0], self.n_appended), *shape[1:])
        return shape

    @property
    def maxshape(self) -> tuple[int | None, ...] | None:
        """Maximum shape to which readers may resize the dataset; None for an unlimited extent."""
        return self.shape if self._node.spec.maxshape is None else self._node.spec.maxshape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        return self._node.spec.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self._node.spec.shape or ())

    @property
    def size(self) -> int | None:
        """Current number of elements; None for a null dataset."""
        return None if self.shape is None else math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes of the unfiltered elements."""
        return (self.size or 0) * self._node.spec.element_nbytes

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Chunk shape; None for a scalar or null dataset, and for data stored without chunks."""
        return self._node.spec.chunks

    @property
    def fillvalue(self) -> Any:
        """Value that readers get where nothing was written."""
        fill, dtype = self._node.spec.fillvalue, self._node.spec.stored_dtype
        return (np.zeros((), dtype) if fill is None else fill)[()]

    @property
    def compression(self) -> str | None:
        """``"gzip"``, ``"szip"`` or ``"lzf"``; None without a filter and, as in h5py, for other filters."""
        rows = (REGISTRY.get(one.filter_id) for one in self._node.spec.filters)
        return next((row.keyword for row in rows if row is not None and row.is_named_by_h5py), None)

    @property
    def dims(self) -> DimensionManager:
        """Labels and scales of the dimensions: ``d.dims[0].label = "time"``, ``d.dims[0].attach_scale(time)``."""
        return DimensionManager(self)

    @property
    def is_scale(self) -> bool:
        """Whether the dataset is a dimension scale."""
        return is_scale(self._node)

    def make_scale(self, name: str | bytes = "") -> None:
        """Make the dataset a dimension scale, to be attached to dimensions of others: ``d.dims[0].attach_scale``.

        Parameters
        ----------
        name
            Name of the scale; another name replaces it.

        Raises
        ------
        SpecError
            The dataset has scales itself.
        StateError
            The file is closed.
        """
        make_scale(self._node, self.session, name)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{self.name} has no dimensions, so no length")
        return self.shape[0]
