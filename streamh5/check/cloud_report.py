"""The answer to the question whether a file is right for object stores."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.memory_size import format_nbytes
from streamh5.errors import counted, printable_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Grade = Literal["good", "could be better", "bad"]

_N_CACHE_BLOCKS = 32
"""Blocks that fsspec's ``BlockCache`` keeps (`maxblocks`): a reader that needs more asks for some again."""


@dataclass(frozen=True, slots=True)
class CloudRequests:
    """What a reader requests to open a file, list all objects with their attributes, and find every chunk.

    These are predictions from the places of the metadata.

    Attributes
    ----------
    metadata_nbytes, n_structures
        Size of the metadata in bytes, and number of its structures. Without a cache, the HDF5 library makes about one
        read for each.
    metadata_stop
        Position at which the last structure ends.
    n_1mib_blocks, n_8mib_blocks
        Requests of a reader that fetches the file in blocks of 1 or 8 MiB, and keeps them (fsspec's ``blockcache``):
        the blocks in which metadata lies.
    n_pages
        Pages that a page buffer fetches (``page_buf_size`` of h5py) after three small reads of the superblock: the
        pages in which metadata lies. None for a file without pages, which cannot be opened with a page buffer.
    """

    metadata_nbytes: int
    n_structures: int
    metadata_stop: int
    n_1mib_blocks: int
    n_8mib_blocks: int
    n_pages: int | None

    def __str__(self) -> str:
        again = "at least " if self.n_1mib_blocks > _N_CACHE_BLOCKS else ""
        pages = "" if self.n_pages is None else f", {self.n_pages:,} with a page buffer"
        return (
            f"to open it, list everything and find every chunk, a reader makes about {self.n_structures:,} reads "
            f"without a cache, {again}{counted(self.n_1mib_blocks, 'request')} with blocks of 1 MiB, "
            f"{self.n_8mib_blocks:,} with blocks of 8 MiB{pages}"
        )


@dataclass(frozen=True, slots=True)
class CloudCheck:
    """One thing that data providers ask for.

    Attributes
    ----------
    name
        What was checked.
    grade
        ``"good"``, ``"could be better"`` or ``"bad"``.
    found
        What was found, with figures.
    advice
        What makes it better; empty where it is good.
    figures
        The figures, as values for JSON.
    """

    name: str
    grade: Grade
    found: str
    advice: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CloudReport:
    """Whether a file is right for object stores.

    Its `repr` is a page of text.

    Attributes
    ----------
    path, file_nbytes
        Path of the file, and its size in bytes.
    requests
        What a reader requests before it reads data.
    checks
        One for each thing that data providers ask for.

    Examples
    --------
    >>> summary = streamh5.to_fixed_h5("x.h5", "/x", np.ones((1000, 1000)), chunks=(500, 500))
    >>> report = streamh5.inspect("x.h5").cloud()
    >>> report.ok, report.verdict, report.requests.n_8mib_blocks
    (True, 'right for the cloud...', 1)
    >>> report.to_dict()["checks"][0]["grade"]
    'good'
    >>> print(report.render(width=80))
    x.h5 ...
    """

    path: str
    file_nbytes: int
    requests: CloudRequests
    checks: tuple[CloudCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is bad."""
        return all(check.grade != "bad" for check in self.checks)

    @property
    def verdict(self) -> str:
        """The verdict: "right for the cloud", "right for the cloud, could be better" or "not right for the cloud"."""
        if not self.ok:
            return "not right for the cloud"
        is_good = all(check.grade == "good" for check in self.checks)
        return "right for the cloud" if is_good else "right for the cloud, could be better"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values for JSON."""
        return {"verdict": self.verdict, "ok": self.ok, **asdict(self)}

    @check_keywords
    def render(self, width: int = 100) -> str:
        """Return what was found as text.

        Parameters
        ----------
        width
            Most characters of a line, except for longer words.
        """
        return printable_lines(self._lines(width))

    def __repr__(self) -> str:
        return self.render()

    def _repr_html_(self) -> str:
        from streamh5.check.html_repr import cloud_html  # now: only notebooks need it
        from streamh5.display.document import fragment

        return fragment(*cloud_html(self))

    def _lines(self, width: int) -> Iterator[str]:
        yield headline(self)
        for check in self.checks:
            first = f"{check.grade:<17}"
            yield from _wrapped(f"{check.name}: {check.found}", first, width)
            if check.advice:
                yield from _wrapped(check.advice, f"{'':<17}-> ", width)


def headline(report: CloudReport) -> str:
    """Return the file, its size and the verdict, as one line."""
    return f"{report.path}  {format_nbytes(report.file_nbytes)}: {report.verdict}"


def overview(reports: Sequence[CloudReport], width: int) -> Iterator[str]:
    """Yield what is not good in several files: each check once, with the number of files and those of the first."""
    n_ok = sum(report.ok for report in reports)
    yield ""
    yield f"{counted(len(reports), 'file')}: {n_ok:,} right for the cloud, {len(reports) - n_ok:,} not"
    found: dict[tuple[str, str], list[tuple[CloudReport, CloudCheck]]] = {}
    for report in reports:
        for check in report.checks:
            if check.grade != "good":
                found.setdefault((check.grade, check.name), []).append((report, check))
    for (grade, name), those in sorted(found.items()):
        first, check = those[0]
        text = f"{name}: in {counted(len(those), 'file')}, first {first.path}: {check.found}"
        yield from _wrapped(text, f"{grade:<17}", width)
        if check.advice:
            yield from _wrapped(check.advice, f"{'':<17}-> ", width)


def _wrapped(text: str, first: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
