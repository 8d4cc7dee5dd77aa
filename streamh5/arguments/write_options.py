"""`WriteOptions`: how a file is written, as one value from the public functions to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamh5.errors import SpecError, shown

if TYPE_CHECKING:
    from streamh5.arguments.keywords import Keep, Sync
    from streamh5.arguments.paths import LocalPath

_ADVICE = {"r": "; read files with h5py", "r+": "; 'a' adds to a file", "w-": "; 'x' is the same"}
"""Advice for modes of h5py that do not exist here; `File` has the last two."""

MAX_HEADER_SLACK = 65_539
"""The free space of an object header is one empty message, whose size has 2 bytes, with its own header of 4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How a file is written, independent of what it holds.

    Each public function builds one from its own keywords, and everything below passes it on unchanged. Its values have
    been checked: flags and choices by `check_keywords`, `mode` and `threads` here.

    The defaults are those of a write whose content is known beforehand (`to_fixed_h5` and the conversions). `File`,
    whose content is not known, passes its own.

    Parameters
    ----------
    mode
        ``"w"`` replaces an existing file, ``"x"`` fails if there is one, ``"a"`` adds to one.
    must_exist
        Refuse to create a file.
    libver
        Oldest HDF5 library that must be able to read the file: ``"v108"``, ``"v110"`` or ``"v200"``.
    track_order
        Track the creation order of links and attributes.
    resume
        Resume an interrupted write of the same name.
    resume_key
        Identity of the source, compared with that of the interrupted write.
    sync
        When data are flushed to the disk.
    keep
        Whether an interrupted write is kept; with `resume` it always is. By default only one that was costly to
        compute.
    header_slack
        Bytes reserved after each object header in the front of the file, for attributes that are set later.
    page
        Size in bytes of the pages of the file; True for pages that fit what is in front of it, False for none.
    threads
        Threads that run the filters of a `File`; None for one per core. Tasks of dask use dask's own threads.
    max_memory
        Most raw bytes of blocks in flight in a `File`; None for the default.
    references
        Write kerchunk references to this path when the file is closed.
    journal
        Keep a journal of a write to a URL in this local file.
    storage_options
        How to reach the object store of a URL, as for fsspec.
    origin
        What the header of the journal keeps of a conversion, under ``"origin"``: the state of the ``"files"`` that it
        reads, as text, and its ``"options"``. A resume refuses others. Empty for other writes.
    """

    mode: str = "x"
    must_exist: bool = False
    libver: str = "v110"
    track_order: bool = False
    resume: bool = False
    resume_key: str | None = None
    sync: Sync = "close"
    keep: Keep = "costly"
    header_slack: int = 0
    page: bool | int = False
    threads: int | None = None
    max_memory: int | None = None
    references: LocalPath | None = None
    journal: LocalPath | None = None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)  # may hold credentials
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.mode, str) or self.mode not in ("w", "x", "a"):
            instead = _ADVICE.get(str(self.mode), "")
            raise SpecError(f"mode must be 'w', 'x' or 'a', not {shown(self.mode)}{instead}", mode=self.mode)
        if self.threads is not None and self.threads < 1:
            raise SpecError(f"threads must be at least 1, not {self.threads}", n_threads=self.threads)
        if self.header_slack > MAX_HEADER_SLACK:
            raise SpecError(
                f"header_slack must be at most {MAX_HEADER_SLACK:,}, not {self.header_slack:,}: the free space of a "
                "header is one empty message, which has no more bytes",
                header_slack=self.header_slack,
            )
        if self.page and self.libver == "v108":
            raise SpecError(
                "page= needs HDF5 1.10, the first with pages, and libver='v108' is for HDF5 1.8: leave one of them out",
                page=self.page,
            )
