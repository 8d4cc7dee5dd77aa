"""``WriteOptions``: how a file is written, as one value from the public function down to the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.errors import SpecError, shown

if TYPE_CHECKING:
    from streamh5.arguments.keywords import Keep, Sync
    from streamh5.arguments.paths import LocalPath

_INSTEAD = {"r": "; read files with h5py", "r+": "; 'a' adds to a file", "w-": "; 'x' is the same"}
"""What to do instead of the modes of h5py that do not exist here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How a file is written, independent of what it holds.

    The public functions keep their own keywords. Each builds one of these from them, and everything below takes it
    as it is: the values are checked by then, flags and choices by `check_keywords`, `mode` and `threads` here.

    The defaults are those of a write whose content is known beforehand (`to_fixed_h5` and the conversions). `File`,
    which does not know what will be asked of it, passes its own.

    Parameters
    ----------
    mode
        ``"w"`` replaces an existing file, ``"x"`` fails if there is one, ``"a"`` adds to one.
    libver
        Oldest library that is to read the file: ``"v108"``, ``"v110"`` or ``"v200"``.
    track_order
        Track the creation order of links and attributes.
    resume
        Take up an interrupted write of the same name.
    resume_key
        Identity of the source, compared with the interrupted write's.
    sync
        When data is flushed to the disk.
    keep
        What stays of a write that is interrupted; with `resume` it is always kept. By default only what was costly
        to compute.
    header_slack
        Bytes kept free behind each object header in front of the data, for attributes that are set later.
    threads
        Threads that run the filters of a `File`; None for one for each core. Tasks of dask use dask's own.
    max_memory
        Raw bytes of blocks in flight in a `File`; None for the default.
    references
        Write kerchunk references to this path when the file is closed.
    """

    mode: str = "x"
    libver: str = "v110"
    track_order: bool = False
    resume: bool = False
    resume_key: str | None = None
    sync: Sync = "close"
    keep: Keep = "costly"
    header_slack: int = 0
    threads: int | None = None
    max_memory: int | None = None
    references: LocalPath | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.mode, str) or self.mode not in ("w", "x", "a"):
            instead = _INSTEAD.get(str(self.mode), "")
            raise SpecError(f"mode must be 'w', 'x' or 'a', not {shown(self.mode)}{instead}", mode=self.mode)
        if self.threads is not None and self.threads < 1:
            raise SpecError(f"threads must be at least 1, not {self.threads}", n_threads=self.threads)
