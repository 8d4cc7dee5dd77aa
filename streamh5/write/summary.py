"""``WriteSummary`` and ``DatasetSummary``: the numbers of a finished write."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.memory_size import format_nbytes
from streamh5.arguments.paths import object_url
from streamh5.errors import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    from virtualizarr.manifests import ManifestGroup

    from streamh5.arguments.paths import LocalPath
    from streamh5.model.tree import GroupNode
    from streamh5.references.file_references import FileReferences
    from streamh5.references.zarr_array import ChunkManifest


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """One dataset of a written file.

    Attributes
    ----------
    path, shape, dtype, chunks
        As in the file; ``shape`` is None for a null dataspace, ``chunks`` None without chunks. References, and
        elements whose datatype was copied, have an opaque `dtype` (``V8``).
    datatype
        Name of the datatype in the file, as in `inspect`: ``"UTF-8 string"``, ``"object reference"``.
    index
        Name of its chunk index; None without chunks.
    n_chunks, n_missing, n_empty, n_rewritten
        Number of chunks of the grid; of missing chunks, which read as the fill value; of missing
        chunks that were left out because they contain only the fill value; and of chunks that were
        written again, whose first version stays unused in the file.
    nbytes, stored_nbytes
        Size in bytes of the array, and of its stored chunks.

    Examples
    --------
    >>> summary = streamh5.to_fixed_h5("x.h5", "/x", np.zeros((100, 100)), chunks=(50, 100))
    >>> x = summary.datasets[0]
    >>> x.n_chunks, x.nbytes, x.ratio > 100
    (2, 80000, True)
    >>> x.to_dict()["index"]
    'Fixed Array'
    """

    path: str
    shape: tuple[int, ...] | None
    dtype: np.dtype[Any]
    datatype: str
    chunks: tuple[int, ...] | None
    index: str | None
    n_chunks: int
    n_missing: int
    n_empty: int
    n_rewritten: int
    nbytes: int
    stored_nbytes: int

    @property
    def ratio(self) -> float:
        """Compression ratio: `nbytes` over `stored_nbytes`; nan if nothing is stored."""
        return self.nbytes / self.stored_nbytes if self.stored_nbytes else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values for JSON."""
        facts = asdict(self)
        return facts | {"dtype": facts.pop("datatype")}


@dataclass(frozen=True, slots=True)
class SharedFigures:
    """What the processes of a cluster, or those of `Dataset.part_writer`, did.

    Attributes
    ----------
    n_writers
        Processes that wrote; the process that owns the file is not counted.
    n_leases
        Address ranges that they took.
    rewritten_nbytes
        Bytes that were written in vain: of blocks that were computed twice, or lost with the machine of a worker.
    unused_nbytes
        Bytes of the file that hold nothing: ends of leases.
    n_parts
        Parts that they sent to an object store, where there are no leases.
    """

    n_writers: int
    n_leases: int
    rewritten_nbytes: int
    unused_nbytes: int
    n_parts: int = 0

    def __str__(self) -> str:
        places = counted(self.n_leases, "lease") if self.n_leases else counted(self.n_parts, "part")
        return (
            f"written by {self.n_writers:,} process{'es' * (self.n_writers != 1)} in {places}, "
            f"{format_nbytes(self.unused_nbytes)} unused, {format_nbytes(self.rewritten_nbytes)} written in vain"
        )


@dataclass(frozen=True, slots=True)
class WriteSummary:
    """The numbers of a finished write, and access to references to its chunks.

    Attributes
    ----------
    path
        The file.
    datasets
        Summaries of its datasets, in the order of creation.
    file_nbytes
        Size of the file in bytes.
    seconds
        Time from opening to publishing the file, fsync included.
    tree
        The tree of the file, chunk map included; None if it does not describe the whole file.
    shared
        What several processes did; None if only one process wrote.
    unused_nbytes
        Bytes to which nothing refers any more since this write: chunks, indexes and headers that were replaced, and
        deleted objects. `convert` writes a file without them.

    Examples
    --------
    >>> import json
    >>> x = np.ones((1000, 1000))
    >>> summary = streamh5.to_fixed_h5("x.h5", "/x", x, chunks=(500, 500), compression=None)
    >>> summary.nbytes, summary.n_chunks, summary.n_missing, summary.stored_nbytes, summary.ratio
    (8000000, 4, 0, 8000000, 1.0)
    >>> summary.nbytes_per_second > 0
    True
    >>> text = json.dumps(summary.to_dict())
    """

    path: str
    datasets: tuple[DatasetSummary, ...]
    file_nbytes: int
    seconds: float
    tree: GroupNode | None = field(default=None, repr=False, compare=False)
    shared: SharedFigures | None = None
    unused_nbytes: int = 0

    @property
    def nbytes(self) -> int:
        """Total size in bytes of all arrays."""
        return sum(dataset.nbytes for dataset in self.datasets)

    @property
    def stored_nbytes(self) -> int:
        """Total size in bytes of all stored chunks."""
        return sum(dataset.stored_nbytes for dataset in self.datasets)

    @property
    def ratio(self) -> float:
        """Compression ratio: `nbytes` over `stored_nbytes`; nan if nothing is stored."""
        return self.nbytes / self.stored_nbytes if self.stored_nbytes else math.nan

    @property
    def n_chunks(self) -> int:
        """Number of chunks of all datasets."""
        return sum(dataset.n_chunks for dataset in self.datasets)

    @property
    def n_missing(self) -> int:
        """Number of chunks that were not written and read as the fill value."""
        return sum(dataset.n_missing for dataset in self.datasets)

    @property
    def nbytes_per_second(self) -> float:
        """Throughput: bytes of the arrays per second."""
        return self.nbytes / self.seconds if self.seconds else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the tree as dicts, lists and numbers, for JSON."""
        return {
            "path": self.path,
            "nbytes": self.nbytes,
            "stored_nbytes": self.stored_nbytes,
            "file_nbytes": self.file_nbytes,
            "seconds": self.seconds,
            "unused_nbytes": self.unused_nbytes,
            "shared": None if self.shared is None else asdict(self.shared),
            "datasets": [dataset.to_dict() for dataset in self.datasets],
        }

    @check_keywords
    def references(
        self, *, url: str | None = None, storage_options: Mapping[str, Any] | None = None
    ) -> FileReferences:
        """Return references to the chunks of the file, from the chunk map of the write.

        Parameters
        ----------
        url
            Where readers will find the file; by default, its URL or absolute path.
        storage_options
            For a file at a URL, if it has to be read (the write had been finished before).

        Examples
        --------
        >>> x = np.ones((1000, 1000))
        >>> summary = streamh5.to_fixed_h5("x.h5", "/x", x, chunks=(500, 500), compression=None)
        >>> summary.references(url="https://example.org/x.h5")
        <streamh5.FileReferences 'https://example.org/x.h5': 1 array, 4 chunks>
        """
        from streamh5.references.file_references import read_references, tree_references

        if self.tree is None:
            return read_references(self.path, url=url, storage_options=storage_options)
        return tree_references(self.tree, self.path, url=url)

    @check_keywords
    def manifest(self, *, url: str | None = None, skip: bool = False) -> dict[str, ChunkManifest]:
        """Return where the chunks of each dataset lie, as numpy columns, by path.

        Parameters
        ----------
        url, skip
            See `references` and `FileReferences.manifest`.

        Examples
        --------
        >>> x = np.ones((1000, 1000))
        >>> summary = streamh5.to_fixed_h5("x.h5", "/x", x, chunks=(500, 500), compression=None)
        >>> summary.manifest()["/x"].lengths
        array([2000000, 2000000, 2000000, 2000000], dtype=uint64)
        """
        return self.references(url=url).manifest(skip=skip)

    @check_keywords
    def to_kerchunk(
        self,
        path: LocalPath | None = None,
        *,
        url: str | None = None,
        format: str | None = None,
        inline: int = 0,
        skip: bool = False,
        overwrite: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        """Write references in kerchunk's format, as JSON or Parquet, or return them as a dictionary.

        Parameters
        ----------
        path
            See `FileReferences.to_kerchunk`.
        url
            Where readers will find the file; by default, its URL or absolute path.
        format, inline, skip, overwrite, storage_options
            See `FileReferences.to_kerchunk`.

        Returns
        -------
        dict or None
            See `FileReferences.to_kerchunk`.

        Examples
        --------
        >>> x = np.ones((1000, 1000))
        >>> summary = streamh5.to_fixed_h5("x.h5", "/x", x, chunks=(500, 500), compression=None)
        >>> summary.to_kerchunk("x.json")
        """
        own_options = storage_options if object_url(self.path) is not None else None
        return self.references(url=url, storage_options=own_options).to_kerchunk(
            path,
            format=format,
            inline=inline,
            skip=skip,
            overwrite=overwrite,
            storage_options=storage_options,
        )

    @check_keywords
    def to_virtualizarr(self, *, url: str | None = None, skip: bool = False) -> ManifestGroup:
        """Return the file as VirtualiZarr's `ManifestGroup`.

        Parameters
        ----------
        url, skip
            See `references` and `FileReferences.to_virtualizarr`.

        Examples
        --------
        >>> x = np.ones((1000, 1000))
        >>> summary = streamh5.to_fixed_h5("x.h5", "/x", x, chunks=(500, 500), compression=None)
        >>> ds = summary.to_virtualizarr().to_virtual_dataset()
        """
        return self.references(url=url).to_virtualizarr(skip=skip)

    @property
    def _figures(self) -> str:
        ratio = f" (ratio {self.ratio:.2f})" if self.stored_nbytes else ""
        unused = f" ({format_nbytes(self.unused_nbytes)} of it unused)" if self.unused_nbytes else ""
        return (
            f"{format_nbytes(self.nbytes)} stored as {format_nbytes(self.stored_nbytes)}{ratio}, "
            f"a file of {format_nbytes(self.file_nbytes)}{unused}, in {self.seconds:.2f} s, "
            f"{format_nbytes(self.nbytes_per_second)}/s"
        )

    @property
    def _more(self) -> str:
        """Sentence that counts the datasets that are not listed."""
        n_more = len(self.datasets) - MAX_ROWS
        return f"and {counted(n_more, 'more dataset')}" if n_more > 0 else ""

    def __repr__(self) -> str:
        lines = [f"{self.path}: {self._figures}"]
        if self.shared is not None:
            lines.append(f"  {self.shared}")
        lines += ["  " + ", ".join(_facts(dataset)) for dataset in self.datasets[:MAX_ROWS]]
        if self._more:
            lines.append(f"  {self._more}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from streamh5.display.document import fragment  # now: only notebooks need it

        return fragment(*summary_html(self, "WriteSummary"))


MAX_ROWS = 20
"""Most datasets that a printed summary lists."""


_CELLS: dict[str, Callable[[DatasetSummary], Any]] = {
    "dataset": lambda one: one.path,
    "shape": lambda one: one.shape,
    "dtype": lambda one: one.datatype,
    "chunks": lambda one: one.chunks,
    "index": lambda one: one.index,
    "number": lambda one: f"{one.n_chunks:,}",
    "missing": lambda one: f"{one.n_missing:,}",
    "size": lambda one: format_nbytes(one.nbytes),
    "stored": lambda one: format_nbytes(one.stored_nbytes),
    "ratio": lambda one: f"{one.ratio:.2f}" if one.stored_nbytes else "",
}
"""The columns of a summary in a notebook."""


def summary_html(summary: WriteSummary, kind: str) -> list[str]:
    """Return what a notebook shows: figures, and a table of datasets; `kind` is the class of the result."""
    from streamh5.display.elements import heading, line, table  # 10 ms that only notebooks need

    values = [[cell(dataset) for cell in _CELLS.values()] for dataset in summary.datasets[:MAX_ROWS]]
    rows = [["" if value is None else value for value in row] for row in values]
    return [
        heading(f"streamh5.{kind}", summary.path),
        line(summary._figures),
        line(summary.shared or ""),
        table(_CELLS, rows) if rows else "",
        line(summary._more),
    ]


def _facts(dataset: DatasetSummary) -> Iterable[str]:
    yield f"{dataset.path} {dataset.shape} {dataset.datatype}"
    if dataset.chunks is not None:
        yield f"{counted(dataset.n_chunks, 'chunk')} {dataset.chunks} ({dataset.index})"
    if dataset.n_missing:
        yield f"{dataset.n_missing:,} not stored (fill value)"
    if dataset.n_rewritten:
        yield f"{dataset.n_rewritten:,} written again"
    if dataset.stored_nbytes:
        yield f"ratio {dataset.ratio:.2f}"
