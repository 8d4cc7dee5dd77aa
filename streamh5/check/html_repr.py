"""What a notebook, or a page, shows of the results of `inspect` and `verify`, and of `FileInspection.cloud`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.arguments.memory_size import format_nbytes
from streamh5.check.inspection import NAMES
from streamh5.check.report import report_facts
from streamh5.display.cards import card_body, storage_pairs
from streamh5.display.elements import badge, bullets, facts, heading, line, section, table
from streamh5.display.file_bar import file_bar
from streamh5.display.object_tree import TreeItem, object_tree
from streamh5.errors import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.check.cloud_report import CloudReport
    from streamh5.check.inspection import DatasetInspection, FileInspection
    from streamh5.check.report import VerifyReport
    from streamh5.reader.file_content import Finding

MAX_OPEN = 3
"""Most datasets of a file whose pictures are shown without a click."""


def dataset_html(dataset: DatasetInspection) -> str:
    """Return one dataset with its path."""
    return heading("HDF5 dataset", dataset.path) + _body(dataset)


def _body(dataset: DatasetInspection) -> str:
    """Return the facts of a dataset, and the picture of its chunks."""
    pairs = storage_pairs(
        shape=dataset.shape,
        maxshape=dataset.maxshape,
        dtype=dataset.dtype,
        chunks=dataset.chunks,
        filters=dataset.filters,
        storage=dataset.storage,
    )
    ratio = "" if dataset.ratio is None else f", ratio {dataset.ratio:.2f}"
    size = f"{format_nbytes(dataset.nbytes)} stored as {format_nbytes(dataset.stored_nbytes)}{ratio}"
    missing = f", {dataset.n_missing:,} never written" if dataset.n_missing else ""
    pairs += [
        ("size", size),
        *([("stored", counted(dataset.n_chunks, "chunk") + missing)] if dataset.chunks else []),
        *([("attributes", f"{dataset.n_attributes:,}")] if dataset.n_attributes else []),
        ("header at", f"{dataset.header_address:,}"),
    ]
    if dataset.index_address is not None:
        pairs.append(("index at", f"{dataset.index_address:,}"))
    if dataset.data_start is not None:
        pairs.append(("data", f"from {dataset.data_start:,} to {dataset.data_stop:,}"))
    return card_body(pairs, dataset.chunk_cells)


def file_parts(found: FileInspection) -> Iterator[str]:
    """Yield the parts of the page of a file."""
    damage = badge("damaged", "bad") if found.damaged else ""
    yield heading("HDF5 file", found.path, damage)
    yield line(
        f"{format_nbytes(found.file_nbytes)}, superblock version {found.superblock_version}, "
        f"{counted(len(found.groups), 'group')}, {counted(len(found.datasets), 'dataset')}"
    )
    yield file_bar(found.cells, NAMES)
    for title, findings in (("damaged", found.damaged), ("not checked", found.unchecked)):
        if findings:
            yield section(f"{title}: {len(findings):,}", _findings(findings), is_open=title == "damaged")
    rows = [
        (one.kind, f"{one.n_extents:,}", format_nbytes(one.nbytes), f"{one.start:,} to {one.stop:,}")
        for one in found.regions
    ]
    yield section("What lies where", table(("what", "number", "size", "addresses"), rows))
    items = _tree(found)
    if items:
        tree = object_tree(items, are_bodies_open=len(found.datasets) <= MAX_OPEN)
        yield section("Objects", tree, is_open=True)


def verify_html(report: VerifyReport) -> Iterator[str]:
    """Yield the parts of a report of `verify`."""
    verdict, mood = ("damaged", "bad") if report.damaged else ("good", "good")
    if not report.damaged and not report.complete:
        verdict, mood = "not damaged, as far as it was checked", "warn"
    yield heading("streamh5.VerifyReport", report.path, badge(verdict, mood))
    yield facts(report_facts(report))
    if report.n_damaged_structures:
        body = _findings(report.damaged_structures, report.n_damaged_structures)
        yield section(f"Damaged structures ({report.n_damaged_structures:,})", body, is_open=True)
    if report.n_damaged_chunks:
        chunks = [
            f"{one.path} chunk {one.coords} at address {one.address:,}, {one.stored_nbytes:,} bytes: {one.problem}"
            for one in report.damaged_chunks
        ]
        body = bullets(chunks, report.n_damaged_chunks)
        yield section(f"Damaged chunks ({report.n_damaged_chunks:,})", body, is_open=True)
    if report.n_unchecked:
        yield section(
            f"Not checked ({report.n_unchecked:,})", _findings(report.unchecked, report.n_unchecked)
        )


def cloud_html(report: CloudReport) -> Iterator[str]:
    """Yield the parts of a report of `FileInspection.cloud`."""
    grades = {check.grade for check in report.checks}
    mood = "bad" if "bad" in grades else "warn" if "could be better" in grades else "good"
    yield heading("streamh5.CloudReport", report.path, badge(report.verdict, mood))
    yield line(format_nbytes(report.file_nbytes))
    rows = [(one.grade, one.name, one.found, one.advice) for one in report.checks]
    yield table(("grade", "what", "found", "advice"), rows)


def _findings(findings: tuple[Finding, ...], n_all: int | None = None) -> str:
    texts = [f"{one.path} (header at {one.address:,}): {one.problem}" for one in findings]
    return bullets(texts, n_all)


def _short(dataset: DatasetInspection) -> str:
    shape = "null" if dataset.shape is None else str(dataset.shape)
    chunks = "" if dataset.chunks is None else f", chunks {dataset.chunks}"
    ratio = "" if dataset.ratio is None else f", ratio {dataset.ratio:.2f}"
    return f"{shape} {dataset.dtype}{chunks}{ratio}"


def _tree(found: FileInspection) -> list[TreeItem]:
    """Return the objects of the root group, with those below them."""
    below: dict[str, list[str]] = {}
    datasets = {one.path: one for one in found.datasets}
    for path in [*(one.path for one in found.groups), *datasets]:
        if path != "/":
            below.setdefault(path.rpartition("/")[0] or "/", []).append(path)

    def item(path: str) -> TreeItem:
        name = path.rpartition("/")[2]
        if path in datasets:
            return TreeItem(name, _short(datasets[path]), body=lambda: _body(datasets[path]))
        n = len(below.get(path, ()))
        return TreeItem(name, counted(n, "object"), lambda: map(item, below.get(path, ())), n)

    return [item(path) for path in below.get("/", ())]
