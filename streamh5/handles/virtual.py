"""Virtual datasets as h5py makes them: `VirtualSource`, `VirtualLayout`, and their mappings."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streamh5.errors import SpecError, StateError, counted, shown
from streamh5.format.character_set import decode_text
from streamh5.format.hyperslab import AxisBlocks, Hyperslab
from streamh5.format.virtual_mapping import VirtualMapping, encode_virtual_mappings
from streamh5.handles.attributes import named_type
from streamh5.handles.dataset_plan import check_maxshape, plan_dataset
from streamh5.model.chunk_shape import check_shape
from streamh5.model.hyperslab import select

if TYPE_CHECKING:
    from streamh5.handles.session import Session
    from streamh5.model.dataset_spec import DatasetSpec

_ALL, _HYPERSLABS = 3, 2  # H5S_SEL_ALL and H5S_SEL_HYPERSLABS, as h5py's spaces give them

_SPECIFIERS = re.compile("%(.?)")


class VirtualSource:
    """A dataset, in the same file or another, whose elements a virtual dataset has.

    Index it once for a part of it: ``VirtualSource("a.h5", "/x", shape=(10, 4))[0:3]``.

    Parameters
    ----------
    path_or_dataset
        Path of its file, as readers of the virtual dataset will find it: relative to the virtual dataset's file, or
        absolute. Or a dataset of streamh5 or h5py, which gives everything else, too. In the path and in `name`, ``%b``
        is replaced with the number of the block, from 0 on, if the selection of the layout has no end.
    name
        Path of the dataset in its file.
    shape
        Its shape.
    dtype, maxshape
        Not needed, as in h5py: readers look into the source.

    Raises
    ------
    SpecError
        `name` or `shape` is missing, or given although there is a dataset.

    Examples
    --------
    >>> source = streamh5.VirtualSource("a.h5", "/x", shape=(10, 4))
    >>> source.shape, source[0:3].shape
    ((10, 4), (3, 4))
    """

    def __init__(
        self,
        path_or_dataset: Any,
        name: str | None = None,
        shape: Any = None,
        dtype: Any = None,
        maxshape: Any = None,
    ) -> None:
        if hasattr(path_or_dataset, "shape"):
            if any(one is not None for one in (name, shape, dtype, maxshape)):
                raise SpecError("a VirtualSource of a dataset has its name and shape; give the dataset only")
            dataset = path_or_dataset
            path_or_dataset, name, shape = dataset.file.filename, dataset.name, dataset.shape
            dtype, maxshape = dataset.dtype, dataset.maxshape
        if name is None or shape is None:
            raise SpecError("a VirtualSource of a file needs the name and the shape of a dataset in it")
        self.path = decode_text(os.fspath(path_or_dataset))
        self.name = name
        self.dtype = dtype
        self._extents = tuple(n or 0 for n in check_shape(shape, path=name))
        self.maxshape = self._extents if maxshape is None else maxshape
        self.selection: Hyperslab | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what is selected."""
        return self._extents if self.selection is None else self.selection.shape

    @property
    def n_elements(self) -> int:
        """Number of selected elements; of one block if the selection has no end."""
        whole = Hyperslab(tuple(AxisBlocks(0, 1, 1, n) for n in self._extents))
        return (self.selection or whole).n_elements

    def __getitem__(self, key: Any) -> VirtualSource:
        """Return the source with a selection.

        Parameters
        ----------
        key
            Ints, slices with steps, ``...``, or `h5py.MultiBlockSlice`.

        Raises
        ------
        StateError
            It has one already.
        SpecError
            The selection is empty, or exceeds the source.
        """
        if self.selection is not None:
            raise StateError(
                f"the VirtualSource {self.name} has a selection already; index the whole source once"
            )
        source = VirtualSource(self.path, self.name, self._extents, self.dtype, self.maxshape)
        source.selection = select(self._extents, key, f"source {self.name}")
        return source


class VirtualLayout:
    """The shape and dtype of a virtual dataset, and where its elements are: ``layout[0:5] = VirtualSource(...)``.

    Parameters
    ----------
    shape, dtype, maxshape
        As in `Group.create_dataset`.
    filename
        Not needed, as in h5py: sources in the file of the virtual dataset are recognized when it is created.

    Examples
    --------
    >>> layout = streamh5.VirtualLayout((2, 100), "f8", maxshape=(None, 100))
    >>> layout[0] = streamh5.VirtualSource("a.h5", "/x", shape=(100,))
    >>> layout[1, 50:] = streamh5.VirtualSource("b.h5", "/x", shape=(100,))[:50]
    >>> with streamh5.File("all.h5", "w") as f:
    ...     x = f.create_virtual_dataset("x", layout, fillvalue=np.nan)
    """

    def __init__(self, shape: Any, dtype: Any, maxshape: Any = None, filename: Any = None) -> None:
        self.shape = tuple(n or 0 for n in check_shape(shape, path="a VirtualLayout"))
        self.dtype = dtype
        self.maxshape = maxshape
        self.filename = filename
        self.mappings: list[VirtualMapping] = []

    def __setitem__(self, key: Any, source: VirtualSource) -> None:
        """Map a selection of the virtual dataset to a source with as many elements.

        Parameters
        ----------
        key
            Ints, slices with steps, ``...``, or `h5py.MultiBlockSlice`.
        source
            The source, or a part of it.

        Raises
        ------
        SpecError
            The numbers of elements differ, the selection exceeds the layout, or ``%b`` in the names of the source does
            not go with the selections: see `VirtualSource`.
        """
        where = select(self.shape, key, "VirtualLayout")
        mapping = VirtualMapping(source.path, source.name, source.selection, where)
        _check_mapping(mapping, source.n_elements)
        self.mappings.append(mapping)


def _check_mapping(mapping: VirtualMapping, n_elements: int) -> None:
    """Refuse what ``H5D_virtual_check_mapping_pre`` and ``_post`` refuse.

    Raises
    ------
    SpecError
        See `VirtualLayout.__setitem__`.
    """
    source, where = mapping.src_space, mapping.vspace
    what = f"source {mapping.dset_name} of {mapping.file_name}"
    specifiers = _SPECIFIERS.findall(mapping.file_name) + _SPECIFIERS.findall(mapping.dset_name)
    if not set(specifiers) <= {"b", "%"}:
        raise SpecError(f"{what}: a percent sign in a name is written '%%'; '%b' is the number of the block")
    has_end, source_has_end = where.unlimited_axis is None, source is None or source.unlimited_axis is None
    if has_end and not source_has_end:
        raise SpecError(f"{what} is selected without end, and its place in the virtual dataset has one")
    is_numbered = not has_end and source_has_end
    if is_numbered != ("b" in specifiers):
        problem = "needs '%b' in its name" if is_numbered else "has '%b' in its name"
        raise SpecError(
            f"{what} {problem}: the number of the block is for selections of the virtual dataset without end, whose "
            "blocks are each a whole source"
        )
    if source is not None and not source_has_end:  # without end in both: one step of each must be equal
        n_elements = _n_other(source)
    if n_elements != (where.n_elements if has_end or is_numbered else _n_other(where)):
        raise SpecError(
            f"{what} has {counted(n_elements, 'element')}, its place in the virtual dataset {where.n_elements:,}"
        )


def _n_other(selected: Hyperslab) -> int:
    """Return the number of elements in the dimensions that have an end."""
    blocks = tuple(one for one in selected.blocks if not one.is_unlimited)
    return Hyperslab(blocks).n_elements


def mappings_of(layout: Any) -> list[VirtualMapping]:
    """Return the mappings of a layout of streamh5 or h5py.

    Raises
    ------
    SpecError
        It is not a layout, or has a selection that is not a regular hyperslab.
    """
    if isinstance(layout, VirtualLayout):
        return layout.mappings
    plist = getattr(layout, "dcpl", None)
    if plist is None:
        raise SpecError(f"a layout is a VirtualLayout of streamh5 or h5py, not {shown(layout)}")
    mappings = []
    for i in range(plist.get_virtual_count()):
        source, where = _selected(plist.get_virtual_srcspace(i)), _selected(plist.get_virtual_vspace(i))
        if where is None:
            where = Hyperslab(tuple(AxisBlocks(0, 1, 1, n) for n in layout.shape))
        names = decode_text(plist.get_virtual_filename(i)), decode_text(plist.get_virtual_dsetname(i))
        mappings.append(VirtualMapping(*names, source, where))
    return mappings


def _selected(space: Any) -> Hyperslab | None:
    """Return the selection of an `h5py.h5s.SpaceID`; None for everything."""
    selection_type = space.get_select_type()
    if selection_type == _ALL:
        return None
    if selection_type != _HYPERSLABS or not space.is_regular_hyperslab():
        raise SpecError(
            "a virtual dataset has a selection of points or of irregular blocks; use ints and slices"
        )
    start, stride, count, block = space.get_regular_hyperslab()
    return Hyperslab(tuple(map(AxisBlocks, start, stride, count, block)))


def plan_virtual(
    path: str,
    layout: Any,
    fillvalue: Any,
    *,
    session: Session,
    track_order: bool,
) -> DatasetSpec:
    """Plan a virtual dataset; see `Group.create_virtual_dataset`."""
    if session.options.libver == "v108":
        raise SpecError(f"{path}: HDF5 1.8 has no virtual datasets; write the file with libver='v110'")
    mappings = mappings_of(layout)
    named = named_type(layout.dtype, session, path=path)
    spec, _ = plan_dataset(
        path,
        shape=layout.shape,
        dtype=layout.dtype if named is None else named.dtype,
        chunks=False,
        fillvalue=fillvalue,
        track_order=track_order,
        libver=session.options.libver,
        datatype=None if named is None else named.datatype,
        type_path=None if named is None else named.path,
    )
    own = os.path.realpath(session.sink.name)
    here = [
        replace(one, file_name=".") if os.path.realpath(one.file_name) == own else one for one in mappings
    ]
    block = encode_virtual_mappings(here) if here else b""
    return replace(spec, virtual=block, maxshape=check_maxshape(layout.maxshape, layout.shape, path))
