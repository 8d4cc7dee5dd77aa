"""What a dataset is, under h5py's names; and what those who would read it are told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from streamh5.errors import StateError
from streamh5.filters.registry import REGISTRY
from streamh5.handles.attributes import Attributes

if TYPE_CHECKING:
    from streamh5.handles.session import Session
    from streamh5.model.tree import DatasetNode

__all__ = ["DatasetFacts"]


class DatasetFacts:
    """The part of `Dataset` that tells and changes nothing."""

    session: Session
    _node: DatasetNode
    _n_appended: int
    _number: int

    @property
    def number(self) -> int:
        """The number of the dataset in the journal."""
        return self._number

    @property
    def node(self) -> DatasetNode:
        """The dataset in the plan of the file."""
        return self._node

    @property
    def name(self) -> str:
        """Absolute path in the file."""
        return self._node.path

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape as it is now; the leading extent grows where it was given as None."""
        shape = self._node.shape
        if shape is not None and self._node.spec.shape is not None and None in self._node.spec.shape:
            return (max(shape[0], self._n_appended), *shape[1:])
        return shape

    @property
    def maxshape(self) -> tuple[int | None, ...] | None:
        """Shape up to which readers may let it grow, None for unlimited."""
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
        """Number of elements as it is now; None for a null dataset."""
        return None if self.shape is None else math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements before the filters."""
        return (self.size or 0) * self._node.spec.element_nbytes

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Chunk shape; None for a scalar or null dataset, and for data stored whole."""
        return self._node.spec.chunks

    @property
    def fillvalue(self) -> Any:
        """What is read where nothing was written."""
        fill, dtype = self._node.spec.fillvalue, self._node.spec.stored_dtype
        return (np.zeros((), dtype) if fill is None else fill)[()]

    @property
    def compression(self) -> str | None:
        """``"gzip"``, ``"szip"`` or ``"lzf"``; None for other filters, as in h5py, and without."""
        rows = (REGISTRY.get(one.filter_id) for one in self._node.spec.filters)
        return next((row.keyword for row in rows if row is not None and row.is_named_by_h5py), None)

    @property
    def attrs(self) -> Attributes:
        """Attributes by name."""
        return Attributes(self.session, self._node)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{self.name} has no dimensions, so no length")
        return self.shape[0]

    def __bool__(self) -> bool:
        return self.session.is_open

    def __getitem__(self, region: Any) -> NoReturn:
        self._refuse_reading()

    def __iter__(self) -> NoReturn:
        self._refuse_reading()

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse_reading()

    def __repr__(self) -> str:
        return f"<streamh5.Dataset {self.name!r}: shape {self.shape}, {self.dtype}, chunks {self.chunks}>"

    def _refuse_reading(self) -> NoReturn:
        raise StateError(
            f"{self.name} is for writing; read it with h5py when {self.session.sink.name} is closed, or before that "
            "from a File.checkpoint()"
        )
