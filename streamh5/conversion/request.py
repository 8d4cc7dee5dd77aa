"""Options of a conversion, and its result: how each array was converted, and why."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import IO, TYPE_CHECKING, Any, cast

from streamh5.arguments.paths import local_path
from streamh5.errors import ChunkShapeError, FilterError, SpecError, counted, listed
from streamh5.filters import FilterOptions
from streamh5.model.object_path import check_new_path
from streamh5.sinks.destination_path import (
    check_path,
    destination_name,
    destination_url,
    is_path,
)

if TYPE_CHECKING:
    from streamh5.conversion.array_plan import SourceArray
    from streamh5.conversion.cloud_chunks import CloudChunks
    from streamh5.sinks.destination_path import Destination
    from streamh5.write.summary import WriteSummary

KEEP = "keep"


class NotCopiable(Exception):
    """Stored chunks cannot or should not be copied; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Request:
    """How arrays are to be stored, as `from_zarr` and `convert` take it.

    Parameters
    ----------
    chunks
        None to keep those of the source, ``"auto"``, a shape, or shapes by path.
    compression
        ``"keep"``, or what `to_fixed_h5` accepts.
    compression_opts, shuffle, fletcher32
        As in `to_fixed_h5`; with a `compression`.
    copy
        None to copy stored chunks where that is possible, False to decode all, True to refuse an array
        that cannot be copied.
    verify
        Decode every chunk that is copied.
    libver
        Oldest library that is to read the file.
    cloud
        Chooses chunks of 1 to 10 MB for arrays for which none are requested; None to leave chunks as they are.

    Raises
    ------
    SpecError
        Contradictory options: filters without a compression, or `copy` together with other filters.
    """

    chunks: Any = None
    compression: Any = KEEP
    compression_opts: Any = None
    shuffle: bool | None = None
    fletcher32: bool | None = None
    copy: bool | None = None
    verify: bool = False
    libver: str = "v110"
    cloud: CloudChunks | None = None

    def __post_init__(self) -> None:
        if self.keeps_filters and (self.compression_opts, self.shuffle, self.fletcher32) != (None,) * 3:
            raise FilterError(
                "compression_opts, shuffle and fletcher32 need a compression; by default the filters of the source "
                "are kept: give compression='gzip' or another one"
            )
        if self.copy and not self.keeps_filters:
            raise SpecError("copy=True keeps the filters of the source; leave compression out")

    def check_arrays(self, shapes: Mapping[str, tuple[int, ...] | None]) -> None:
        """Refuse chunks that fit no array of the source.

        Parameters
        ----------
        shapes
            Of every array by its path; None for a null dataspace.

        Raises
        ------
        ChunkShapeError
            A path that does not exist, or a shape whose number of dimensions no array has.
        """
        asked = self.chunks
        if isinstance(asked, Mapping):
            unknown = [path for path in map(check_new_path, asked) if path not in shapes]
            if unknown:
                raise ChunkShapeError(
                    f"chunks were requested for {', '.join(unknown)}, which is not an array; arrays: "
                    f"{listed(shapes) or 'none'}",
                    chunks=asked,
                )
        elif asked is not None and asked != "auto" and shapes:
            rank = len(asked) if isinstance(asked, (tuple, list)) else 1
            ranks = {len(shape) for shape in shapes.values() if shape is not None}
            if rank not in ranks:
                raise ChunkShapeError(
                    f"chunks {asked!r} have {rank} dimensions, and no array has: those here have "
                    f"{', '.join(map(str, sorted(ranks)))}",
                    chunks=asked,
                )

    def check_copy(self) -> None:
        """Refuse to copy stored chunks.

        Raises
        ------
        NotCopiable
            Other filters, or ``copy=False``, were requested.
        """
        if self.copy is False:
            raise NotCopiable("copy=False was requested")
        if not self.keeps_filters:
            raise NotCopiable(f"compression={self.compression!r} was requested")

    def check_copied_chunks(self, path: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
        """Refuse to copy stored chunks of another shape than requested for an array.

        Raises
        ------
        NotCopiable
            The shapes differ.
        """
        asked = self.chunks_of(path, shape)
        if asked is not None and asked != chunks:
            raise NotCopiable(f"chunks {asked} were requested, those stored are {chunks}")

    def for_cloud(self, source: SourceArray) -> Request:
        """Return the request with the chunks of an array for object stores, where it gets others and none were given.

        Raises
        ------
        ChunkShapeError
            See `chunks_of`.
        """
        if self.cloud is None or self.chunks_of(source.path, source.shape or ()) is not None:
            return self
        chosen = self.cloud.choose(source)
        return self if chosen is None else replace(self, chunks=chosen)

    @property
    def keeps_filters(self) -> bool:
        """Whether the filters of the source are kept."""
        return isinstance(self.compression, str) and self.compression == KEEP

    @property
    def filters(self) -> FilterOptions:
        """Filters of encoded arrays; shuffle followed by gzip by default."""
        if self.keeps_filters:
            return FilterOptions(compression="gzip", shuffle=True)
        return FilterOptions(
            compression=self.compression,
            compression_opts=self.compression_opts,
            shuffle=self.compression is not None if self.shuffle is None else self.shuffle,
            fletcher32=self.fletcher32,
        )

    def chunks_of(self, path: str, shape: tuple[int, ...]) -> tuple[int, ...] | str | None:
        """Return the chunks requested for an array, limited to its shape; None without a request.

        Raises
        ------
        ChunkShapeError
            Not a shape of positive ints.
        """
        asked = self.chunks
        if isinstance(asked, Mapping):
            asked = {check_new_path(key): value for key, value in asked.items()}.get(path)
        if asked is None or not shape:
            return None
        if isinstance(asked, str) and asked == "auto":
            return asked
        extents = tuple(asked) if isinstance(asked, (tuple, list)) else (asked,)
        if not all(isinstance(n, int) and n > 0 for n in extents):
            raise ChunkShapeError(
                f"{path}: chunks must be 'auto' or positive ints, one for each dimension of {shape}, not {asked!r}",
                chunks=asked,
            )
        if len(extents) != len(shape):
            if isinstance(self.chunks, Mapping):
                raise ChunkShapeError(
                    f"{path}: chunks {extents} has {counted(len(extents), 'dimension')}, "
                    f"the array {shape} has {len(shape)}",
                    chunks=extents,
                    shape=shape,
                )
            return None
        return tuple(min(c, n) if n else c for c, n in zip(extents, shape, strict=True))


def check_not_source(source: object, path: Destination) -> None:
    """Refuse to replace the source itself.

    Raises
    ------
    SpecError
        Both are one file.
    """
    check_path(path)
    name = destination_name(path)
    if isinstance(source, str) and source == destination_url(path):
        raise SpecError(f"{name} is the source itself; choose another name for the new file", path=name)
    if not (is_path(source) and (is_path(path) or hasattr(path, "fileno"))):
        return
    try:
        there = os.stat(local_path(path)) if is_path(path) else os.fstat(cast("IO[bytes]", path).fileno())
        is_source = os.path.samestat(os.stat(local_path(source)), there)
    except (AttributeError, OSError, ValueError):
        return  # one does not exist, or is not a file of the operating system
    if is_source:
        raise SpecError(f"{name} is the source itself; choose another name for the new file", path=name)


@dataclass(frozen=True, slots=True)
class ArrayConversion:
    """How one array was converted.

    Parameters
    ----------
    path
        The dataset.
    is_copied
        Whether its stored chunks were copied; otherwise they were decoded and encoded.
    reason
        Why.
    n_copied, n_encoded
        Chunks copied as stored, and chunks that had to be decoded and encoded; with ``resume=True`` by this call.
    n_resumed
        Chunks that were kept because the interrupted conversion had stored them.

    Examples
    --------
    >>> np.save("x.npy", np.zeros(10))
    >>> streamh5.convert("x.npy", "x.h5").arrays[0].to_dict()["is_copied"]
    False
    """

    path: str
    is_copied: bool
    reason: str
    n_copied: int = 0
    n_encoded: int = 0
    n_resumed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        before = f", {counted(self.n_resumed, 'chunk')} stored before" if self.n_resumed else ""
        if not self.is_copied:
            return f"{self.path}: decoded and encoded{before}: {self.reason}"
        but = f", {self.n_encoded:,} encoded" if self.n_encoded else ""
        return f"{self.path}: {counted(self.n_copied, 'chunk')} copied as stored{but}{before}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Conversion:
    """The result of a conversion.

    Parameters
    ----------
    summary
        The file.
    arrays
        How each array was converted.
    format
        ``"HDF5"`` or ``"netCDF-4"``.
    notes
        Further notes: why it is not netCDF-4, what was left out.

    Examples
    --------
    >>> np.save("x.npy", np.zeros(10))
    >>> done = streamh5.convert("x.npy", "x.h5", "/x")
    >>> done.explain()
    '/x: decoded and encoded: ...'
    >>> done.to_dict()["format"]
    'HDF5'
    """

    summary: WriteSummary
    arrays: tuple[ArrayConversion, ...]
    format: str = "HDF5"
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as dicts, lists and numbers, for JSON."""
        datasets = {dataset.path: dataset for dataset in self.summary.datasets}
        return {
            "path": self.summary.path,
            "format": self.format,
            "nbytes": self.summary.nbytes,
            "stored_nbytes": self.summary.stored_nbytes,
            "file_nbytes": self.summary.file_nbytes,
            "seconds": self.summary.seconds,
            "notes": list(self.notes),
            "arrays": [
                {
                    **array.to_dict(),
                    "n_missing": datasets[array.path].n_missing,
                    "nbytes": datasets[array.path].nbytes,
                    "stored_nbytes": datasets[array.path].stored_nbytes,
                }
                for array in self.arrays
            ],
        }

    def explain(self) -> str:
        """Return how each array was converted, one per line, and the notes."""
        return "\n".join([*map(str, self.arrays), *self.notes])

    def __repr__(self) -> str:
        n_copied = sum(array.is_copied for array in self.arrays)
        n_encoded = len(self.arrays) - n_copied
        how = [f"{counted(n_copied, 'array')} with chunks copied as stored"] if n_copied else []
        how += [f"{counted(n_encoded, 'array')} decoded and encoded"] if n_encoded else []
        head = ", ".join([self.format, *how])
        return f"{self.summary!r}\n{head}"

    def _repr_html_(self) -> str:
        from streamh5.display.document import fragment  # now: only notebooks need it
        from streamh5.display.elements import bullets, line
        from streamh5.write.summary import summary_html

        lines = bullets([*self.arrays, *self.notes])
        return fragment(*summary_html(self.summary, "Conversion"), line(self.format), lines)
