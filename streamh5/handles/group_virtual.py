"""The part of ``Group`` that creates virtual datasets."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from streamh5.arguments.keywords import check_keywords
from streamh5.handles.dataset_plan import NO_CHAIN
from streamh5.handles.group_links import GroupLinks
from streamh5.handles.virtual import VirtualLayout, plan_virtual
from streamh5.model.object_path import check_new_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.handles.dataset import Dataset


class GroupVirtual(GroupLinks):
    """The part of `Group` that creates datasets whose elements are in others."""

    @check_keywords
    def create_virtual_dataset(self, name: str | bytes, layout: Any, fillvalue: Any = None) -> Dataset:
        """Create a dataset whose elements are in other datasets, of this file or of others.

        Parameters
        ----------
        name
            Path, from this group or, with a leading ``/``, from the root.
        layout
            A `VirtualLayout` of streamh5 or h5py.
        fillvalue
            Value of elements that no source has.

        Returns
        -------
        Dataset
            The new dataset, which has no data of its own.

        Raises
        ------
        SpecError
            The file is written for HDF5 1.8, or `layout` is not a layout; see also `create_dataset`.

        Examples
        --------
        >>> layout = streamh5.VirtualLayout((2, 100), "f8")
        >>> for i in range(2):
        ...     layout[i] = streamh5.VirtualSource(f"part{i}.h5", "/x", shape=(100,))
        >>> with streamh5.File("all.h5", "w") as f:
        ...     x = f.create_virtual_dataset("x", layout)
        >>> x.is_virtual, x.shape
        (True, (2, 100))
        """
        self.session.check_open()
        path, order = check_new_path(self.absolute_path(name)), self.file.track_order
        spec = plan_virtual(path, layout, fillvalue, session=self.session, track_order=order)
        return self.file.add_dataset(spec, NO_CHAIN)

    @check_keywords
    @contextmanager
    def build_virtual_dataset(
        self, name: str | bytes, shape: Any, dtype: Any, maxshape: Any = None, fillvalue: Any = None
    ) -> Iterator[VirtualLayout]:
        """Create a virtual dataset at the end of a ``with`` block, from the `VirtualLayout` that the block gets.

        Parameters
        ----------
        name
            See `create_virtual_dataset`.
        shape, dtype, maxshape
            See `VirtualLayout`.
        fillvalue
            See `create_virtual_dataset`.

        Yields
        ------
        VirtualLayout
            To be filled in the block.

        Examples
        --------
        >>> with streamh5.File("all.h5", "w") as f:
        ...     with f.build_virtual_dataset("x", (200,), "f8") as layout:
        ...         layout[:100] = streamh5.VirtualSource("part0.h5", "/x", shape=(100,))
        """
        layout = VirtualLayout(shape, dtype, maxshape)
        yield layout
        self.create_virtual_dataset(name, layout, fillvalue)
