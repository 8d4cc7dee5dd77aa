"""What a dataset that is being written is: shape, dtype, chunks, filters."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from streamh5.arguments.keywords import check_keywords
from streamh5.errors import SpecError, StateError
from streamh5.filters.fletcher32 import ROW as FLETCHER32
from streamh5.filters.registry import REGISTRY
from streamh5.filters.scaleoffset import ROW as SCALEOFFSET
from streamh5.filters.shuffle import ROW as SHUFFLE
from streamh5.filters.szip import ENTROPY_CODING
from streamh5.format.virtual_mapping import decode_virtual_mappings
from streamh5.handles.attributes import Handle
from streamh5.handles.dimensions import DimensionManager, is_scale, make_scale
from streamh5.handles.regions import RegionReferences, iter_chunks
from streamh5.model.tree import DatasetNode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.format.filter_pipeline import FilterRecord
    from streamh5.format.virtual_mapping import VirtualMapping
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
        shape, spec = self._node.shape, self._node.spec
        if shape and (spec.maxshape is not None or None in (spec.shape or ())):
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
        """``"gzip"``, ``"szip"`` or ``"lzf"``, as h5py names them; ``"unknown"`` for other compressions; else None."""
        record = self._compression
        if record is None:
            return None
        row = REGISTRY.get(record.filter_id)
        return row.keyword if row is not None and row.is_named_by_h5py else "unknown"

    @property
    def compression_opts(self) -> Any:
        """Level of gzip, ``("nn" or "ec", pixels per block)`` of szip; else None, as in h5py."""
        record, name = self._compression, self.compression
        if record is None or name not in ("gzip", "szip"):
            return None
        values = record.client_values
        return values[0] if name == "gzip" else ("ec" if values[0] & ENTROPY_CODING else "nn", values[1])

    @property
    def compression_keywords(self) -> dict[str, Any]:
        """The keywords of `Group.create_dataset` that give another dataset the same compression."""
        record = self._compression
        if record is None or self.compression != "unknown":
            return {"compression": self.compression, "compression_opts": self.compression_opts}
        return {"compression": record.filter_id, "compression_opts": record.client_values}

    @property
    def filter_ids(self) -> tuple[int, ...]:
        """Numbers of its filters, in the order in which they encode."""
        return tuple(record.filter_id for record in self._node.spec.filters)

    @property
    def filter_names(self) -> tuple[str, ...]:
        """Names of its filters as the file stores them."""
        return tuple(record.name for record in self._node.spec.filters)

    @property
    def shuffle(self) -> bool:
        """Whether it has the shuffle filter."""
        return SHUFFLE.filter_id in self.filter_ids

    @property
    def fletcher32(self) -> bool:
        """Whether its chunks have checksums."""
        return FLETCHER32.filter_id in self.filter_ids

    @property
    def scaleoffset(self) -> int | None:
        """Bits of integers (0 for as many as needed) or decimal digits of floats that are kept; else None."""
        filters = self._node.spec.filters
        return next((one.client_values[1] for one in filters if one.filter_id == SCALEOFFSET.filter_id), None)

    @property
    def external(self) -> None:
        """None: data in files of their own are not written."""
        return

    @abstractmethod
    def __setitem__(self, region: Any, value: Any) -> None:
        """Write a region."""

    @check_keywords
    def write_direct(self, source: Any, source_sel: Any = None, dest_sel: Any = None) -> None:
        """Write a part of an array to a region, as h5py's method of the same name does.

        Parameters
        ----------
        source
            An array.
        source_sel
            Index of the part of it, in the sense of numpy; None for all of it.
        dest_sel
            Region of the dataset; None for all of it.

        Raises
        ------
        BlockError
            The part does not fit the region.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (10, 4))
        ...     x.write_direct(np.ones((100, 4)), np.s_[50:55], np.s_[:5])
        """
        self[... if dest_sel is None else dest_sel] = source[... if source_sel is None else source_sel]

    @property
    def is_virtual(self) -> bool:
        """Whether its elements are in other datasets."""
        return self._node.is_virtual

    def virtual_sources(self) -> list[VirtualMapping]:
        """Return where the elements of a virtual dataset are.

        Raises
        ------
        SpecError
            It is not virtual.
        StateError
            It was in the file before: h5py reads its sources.

        Examples
        --------
        >>> with streamh5.File("all.h5", "w") as f:
        ...     with f.build_virtual_dataset("x", (100,), "f8") as layout:
        ...         layout[:] = streamh5.VirtualSource("part.h5", "/x", shape=(100,))
        ...     f["x"].virtual_sources()[0].file_name
        'part.h5'
        """
        block = self._node.spec.virtual
        if block is None and self.is_virtual:
            raise StateError(f"{self.name} was in the file before; read its sources with h5py")
        if block is None:
            raise SpecError(f"{self.name} is not a virtual dataset")
        return decode_virtual_mappings(block) if block else []

    @property
    def regionref(self) -> RegionReferences:
        """References to regions of it: ``d.regionref[0:3, 5]``."""
        return RegionReferences(self)

    def iter_chunks(self, sel: Any = None) -> Iterator[tuple[slice, ...]]:
        """Return an iterator over the chunks, as slices: ``for region in d.iter_chunks(): d[region] = ...``.

        Parameters
        ----------
        sel
            A slice or int for each dimension, to which the chunks are cut; None for the whole dataset.

        Raises
        ------
        BlockError
            The dataset has no chunks, or `sel` exceeds it.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (100, 100), chunks=(50, 100))
        ...     for region in x.iter_chunks():
        ...         x[region] = np.ones((50, 100))
        """
        return iter_chunks(self, sel)

    def len(self) -> int:
        """Return the length of the first dimension."""
        return len(self)

    @property
    def _compression(self) -> FilterRecord | None:
        """The filter that compresses, or one that is not known."""
        rows = ((record, REGISTRY.get(record.filter_id)) for record in self._node.spec.filters)
        return next((record for record, row in rows if row is None or row.is_compression), None)

    @property
    def dims(self) -> DimensionManager:
        """Labels and scales of the dimensions: ``d.dims[0].label = "time"``, ``d.dims[0].attach_scale(time)``."""
        return DimensionManager(self)

    @property
    def is_scale(self) -> bool:
        """Whether the dataset is a dimension scale."""
        return is_scale(self._node)

    @check_keywords
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

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f["time"] = np.arange(10.0)
        ...     f["time"].make_scale("time")
        ...     f["x"] = np.zeros((10, 3))
        ...     f["x"].dims[0].attach_scale(f["time"])
        """
        make_scale(self._node, self.session, name)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{self.name} has no dimensions, so no length")
        return self.shape[0]

    def __bool__(self) -> bool:
        return self.session.is_open

    def __getitem__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise StateError(
            f"{self.name} can only be written; read it with h5py after {self.session.sink.name} is closed, or before "
            "that from a File.checkpoint()"
        )

    __iter__ = __array__ = __getitem__
