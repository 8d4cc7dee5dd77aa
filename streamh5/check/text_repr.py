"""The result of `inspect` as text."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from streamh5.arguments.memory_size import format_nbytes
from streamh5.check.inspection import NAMES
from streamh5.errors import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.check.inspection import DatasetInspection, FileInspection, Region


def file_lines(found: FileInspection, width: int) -> Iterator[str]:
    """Yield the lines of the page of a file."""
    yield f"{found.path}  {format_nbytes(found.file_nbytes)}, superblock version {found.superblock_version}"
    yield ""
    yield found.cells
    yield from textwrap.wrap(_legend(found.cells, found.file_nbytes), width)
    yield ""
    yield from _region_table(found.regions)
    yield ""
    yield f"{counted(len(found.groups), 'group')}, {counted(len(found.datasets), 'dataset')}"
    for dataset in found.datasets:
        yield ""
        yield from _dataset_lines(dataset, width)
    for title, findings in (("damaged", found.damaged), ("not checked", found.unchecked)):
        for finding in findings:
            line = f"{title}: {finding.path} (header at {finding.address:,}): {finding.problem}"
            yield from textwrap.wrap(line, width, subsequent_indent="    ")


def _legend(cells: str, file_nbytes: int) -> str:
    parts = [f"{letter} {name}" for letter, name in NAMES.items() if letter in cells]
    return f"one block: {format_nbytes(file_nbytes / len(cells))}   " + "   ".join(parts)


def _region_table(regions: tuple[Region, ...]) -> Iterator[str]:
    yield f"{'what':<16}{'number':>12}{'size':>12}   addresses"
    for region in regions:
        size = format_nbytes(region.nbytes)
        yield (f"{region.kind:<16}{region.n_extents:>12,}{size:>12}   {region.start:,} to {region.stop:,}")


def _dataset_lines(dataset: DatasetInspection, width: int) -> Iterator[str]:
    shape = "null" if dataset.shape is None else str(dataset.shape)
    yield f"{dataset.path}  {shape} {dataset.dtype}"
    for facts in (_size_facts(dataset), _storage_facts(dataset), _place_facts(dataset)):
        line = ", ".join(facts)
        yield from textwrap.wrap(line, width, initial_indent="    ", subsequent_indent="      ")


def _size_facts(dataset: DatasetInspection) -> Iterator[str]:
    yield f"{format_nbytes(dataset.nbytes)} stored as {format_nbytes(dataset.stored_nbytes)}"
    if dataset.ratio is not None:
        yield f"ratio {dataset.ratio:.2f}"
    if dataset.filters:
        yield " > ".join(dataset.filters)
    if dataset.n_attributes:
        yield counted(dataset.n_attributes, "attribute")


def _storage_facts(dataset: DatasetInspection) -> Iterator[str]:
    if dataset.chunks is None:
        yield dataset.storage
    else:
        yield f"{counted(dataset.n_chunks, 'chunk')} of {dataset.chunks}"
        yield f"{dataset.storage} index"
    if dataset.n_missing:
        yield f"{dataset.n_missing:,} never written"
    if dataset.maxshape not in (None, dataset.shape):
        yield f"grows to {dataset.maxshape}".replace("None", "unlimited")


def _place_facts(dataset: DatasetInspection) -> Iterator[str]:
    yield f"header at {dataset.header_address:,}"
    if dataset.index_address is not None:
        yield f"index at {dataset.index_address:,}"
    if dataset.data_start is not None:
        yield f"data from {dataset.data_start:,} to {dataset.data_stop:,}"
