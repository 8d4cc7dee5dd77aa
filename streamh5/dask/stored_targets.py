"""Arrays that go into datasets that are there: ``append_dim`` and ``region`` of `to_fixed_h5`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from streamh5.dask.array_like import as_dask
from streamh5.dask.blocks import aligned_region, check_known_sizes
from streamh5.dask.graph import Target
from streamh5.errors import DestinationMissingError, PathError, SpecError, listed
from streamh5.handles.file import open_file
from streamh5.handles.object_destination import check_url
from streamh5.handles.region_plan import find_stored, plan_append, plan_region
from streamh5.handles.stored_settings import check_stored_settings
from streamh5.reader.existing_file import read_existing
from streamh5.sinks.destination_path import (
    destination_exists,
    destination_name,
    destination_url,
    is_path,
    real_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.arguments.write_options import WriteOptions
    from streamh5.handles.file import File
    from streamh5.handles.region_plan import PlannedRegion
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.tree import GroupNode
    from streamh5.sinks.destination_path import Destination


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an array goes in a dataset that is there: `append_dim` or `region` of `to_fixed_h5`, or neither."""

    append_dim: Any = None
    region: Any = None

    @property
    def is_new(self) -> bool:
        """Whether the array is a dataset of its own."""
        return self.append_dim is None and self.region is None


def placements_of(names: list[str], append_dim: Any, region: Any) -> dict[str, Placement]:
    """Return where each array goes: `append_dim` and `region` are for all of them, or dictionaries by name.

    Raises
    ------
    SpecError
        Both are given for an array, or they name something else.
    """
    axes, regions = (
        _by_name(names, what, value) for what, value in (("append_dim", append_dim), ("region", region))
    )
    both = sorted(axes.keys() & regions.keys())
    if both:
        raise SpecError(
            f"{listed(both)}: append_dim and region contradict each other: append_dim=... adds elements at the end, "
            "region=(...) replaces those that are there; give one of them",
            append_dim=append_dim,
            region=region,
        )
    return {name: Placement(axes.get(name), regions.get(name)) for name in names}


def _by_name(names: list[str], what: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, value)
    by_name = {f"/{str(name).strip('/')}": one for name, one in value.items()}
    unknown = by_name.keys() - set(names)
    if unknown:
        raise SpecError(
            f"{what} names {listed(map(repr, sorted(unknown)))}, which is not an array of this call; it has "
            f"{listed(names)}",
            **{what: value},
        )
    return {name: one for name, one in by_name.items() if one is not None}


def check_growing_mode(mode: str | None, *, overwrite: bool) -> str:
    """Return the mode for arrays that go into datasets that are there.

    Raises
    ------
    SpecError
        It replaces the file.
    """
    if overwrite or mode not in (None, "a", "r+"):
        what = "overwrite=True" if mode is None else f"mode={mode!r}"
        raise SpecError(
            f"{what} replaces the file, and append_dim and region change a file that is there; leave {what} out, or "
            "use mode='a'",
            mode=mode,
        )
    return "a" if mode is None else mode


@dataclass(frozen=True, slots=True)
class PresentFile:
    """A file that is there, as a write into it is planned.

    Parameters
    ----------
    root
        Its objects.
    libver
        Oldest version of the HDF5 library that can read it.
    file
        The file, open for changes and locked; None if it is opened later.
    status
        Its status before it was read, to notice that another program has changed it until then.
    """

    root: GroupNode
    libver: str
    file: File | None = None
    status: os.stat_result | None = None


@contextmanager
def present_file(
    path: Destination, options: WriteOptions, *, is_opened: bool = True
) -> Iterator[PresentFile | None]:
    """Yield the file at a path, which is given up unchanged if planning fails; None if there is none.

    Parameters
    ----------
    path
        The file.
    options
        How it is written.
    is_opened
        Whether to open it for changes.

    Raises
    ------
    SpecError, SinkError
        streamh5 cannot change the file, or another program has it open.
    """
    url = destination_url(path)
    if url is not None:
        check_url(url, options)
    if not is_path(path) or not destination_exists(path):
        yield None
        return
    if not is_opened:
        status = os.stat(path)
        with read_existing(real_path(path)) as existing:
            yield PresentFile(existing.root, existing.libver, status=status)
        return
    file = open_file(path, options)
    try:
        yield PresentFile(file.session.root, file.libver, file)
    except BaseException as error:
        file.session.interrupt(error)
        raise


def find_datasets(
    path: Destination, present: PresentFile | None, placements: Mapping[str, Placement]
) -> dict[str, DatasetSpec]:
    """Return the stored datasets of the placements by path; an array to append may be without one.

    Raises
    ------
    SpecError
        The destination has no path.
    DestinationMissingError, PathError
        There is no file, or no dataset, for a region.
    """
    if not is_path(path) and destination_url(path) is None:
        raise SpecError(
            f"{destination_name(path)} is not a path, and append_dim and region change files that have a path; write "
            "to a path"
        )
    regions = [name for name, one in placements.items() if one.region is not None]
    if present is None:
        if regions:
            raise DestinationMissingError(
                f"{destination_name(path)} does not exist, so {listed(regions)} has no region; leave region out to "
                "write the whole array, or create the dataset first with streamh5.File and create_dataset",
                path=destination_name(path),
            )
        return {}
    names = [name for name, one in placements.items() if not one.is_new]
    found = {name: find_stored(present.root, name, is_changed=True) for name in names}
    for name in regions:
        if found[name] is None:
            raise PathError(
                f"{destination_name(path)} has no dataset {name}, so there is no region of it; leave region out to "
                "create it from the array, or create it first with streamh5.File(path, 'a') and create_dataset",
                path=name,
            )
    return {name: spec for name, spec in found.items() if spec is not None}


def plan_stored(
    stored: DatasetSpec,
    given: Any,
    placement: Placement,
    settings: Mapping[str, Any],
    resume_key: str | None,
) -> tuple[PlannedRegion, Target]:
    """Plan an array that goes into a stored dataset: its region, and its blocks, which share no chunk.

    Parameters
    ----------
    stored
        The dataset.
    given
        The array.
    placement
        Where it goes.
    settings
        Keywords of the call that must not contradict the dataset: see `check_stored_settings`.
    resume_key
        Identity of the array; by default, that of dask.

    Raises
    ------
    SpecError, BlockError, SourceError
        See `plan_append`, `plan_region` and `as_dask`.
    """
    path = stored.path
    check_stored_settings(stored, settings)
    array, _, is_local = as_dask(path, given, stored.chunks)
    check_known_sizes(path, array)
    source = array.name if resume_key is None else resume_key
    if placement.region is None:
        planned = plan_append(stored, array.shape, array.dtype, placement.append_dim)
    else:
        planned, extents = plan_region(stored, array.shape, array.dtype, placement.region)
        if extents != array.shape:
            array = array.reshape(extents)  # ints in the region: axes of one element
    if stored.chunks is not None:
        array = aligned_region(path, array, stored.chunks, planned.origin)
    target = Target(planned.spec, array, is_local=is_local, origin=planned.origin)
    return replace(planned, source=f"{source} at {planned.origin}"), target
