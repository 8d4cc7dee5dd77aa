"""Every error that streamh5 raises, in one tree.

::

    StreamH5Error
    ├── SpecError            ValueError        a request that contradicts itself or HDF5
    │   ├── KeywordError     TypeError         an unknown keyword of a function
    │   ├── PathError                          a dataset, group or link name
    │   ├── ShapeError                         a shape or maxshape
    │   ├── ChunkShapeError                    chunks
    │   ├── FilterError                        compression, its options, filter order
    │   ├── FillValueError                     a fill value that the dtype cannot hold
    │   ├── AttributeValueError                an attribute's name or value
    │   └── CoordinateError  KeyError          a coordinate whose values are not those of the file
    ├── DatatypeError        TypeError         a dtype that cannot be written
    ├── LimitError           OverflowError     a limit of the file format
    ├── BlockError           ValueError        a block that does not fit its place
    ├── SourceError          ValueError        a source that cannot be streamed
    │   ├── SourceMissingError FileNotFoundError   a file or store that does not exist
    │   ├── UnknownChunksError                 dask chunks of unknown (nan) size
    │   └── SchedulerError                     a dask scheduler that cannot write
    ├── StateError           RuntimeError      a call at the wrong time: after close, after a failure
    ├── SinkError            OSError           the destination
    │   ├── DestinationExistsError  FileExistsError
    │   ├── DestinationMissingError FileNotFoundError   its directory, or the file to change, does not exist
    │   ├── DestinationBusyError    BlockingIOError     another writer uses it
    │   └── InterruptedWriteError FileExistsError   an interrupted write exists, which could be resumed
    ├── ResumeError          ValueError        an interrupted write that differs from the one to be resumed
    ├── ReferencesError      ValueError        a dataset that references to its chunks cannot express
    ├── FormatError          ValueError        bytes that are not the HDF5 file they claim to be
    │   ├── JournalError                       a journal that cannot be trusted
    │   ├── ForeignStructureError              a structure that the reader does not know and cannot check
    │   └── UnreadableError  OSError           bytes that the operating system cannot read
    │       └── FileMissingError FileNotFoundError   a file that does not exist
    ├── StoreError           OSError           a request to an object store, before it is one of the above
    └── MissingCodecError    ImportError       a codec package that is not installed

A message names the object, the numbers and what to do, in at most `MAX_MESSAGE` characters; the full values are in
``facts``. An exception of the user's own code (a dask task, an iterator) passes through unchanged, with a note that
says which chunk was being written.
"""

from __future__ import annotations

import re
import reprlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AttributeValueError",
    "BlockError",
    "ChunkShapeError",
    "CoordinateError",
    "DatatypeError",
    "DestinationBusyError",
    "DestinationExistsError",
    "DestinationMissingError",
    "FileMissingError",
    "FillValueError",
    "FilterError",
    "ForeignStructureError",
    "FormatError",
    "InterruptedWriteError",
    "JournalError",
    "KeywordError",
    "LimitError",
    "MissingCodecError",
    "PathError",
    "ReferencesError",
    "ResumeError",
    "SchedulerError",
    "ShapeError",
    "SinkError",
    "SourceError",
    "SourceMissingError",
    "SpecError",
    "StateError",
    "StoreError",
    "StreamH5Error",
    "UnknownChunksError",
    "UnreadableError",
]

MAX_MESSAGE = 300
"""Most characters of a message; a longer one loses its middle, which keeps object and advice."""

MAX_SHOWN = 100
"""Most characters of one value in a message."""

MAX_NAMES = 10
"""Most names of a list in a message."""


_REPR = reprlib.Repr()  # looks only at the first members of a long value, so that its length costs nothing
_REPR.maxtuple = _REPR.maxlist = _REPR.maxarray = _REPR.maxdict = _REPR.maxset = 5
_REPR.maxlevel = 3
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = MAX_SHOWN


def shown(value: object, limit: int = MAX_SHOWN, *, quoted: bool = True) -> str:
    """Return a value as text for a message: a shape, chunks, a name, a list of names, an array.

    Parameters
    ----------
    value
        Any object; of a long sequence only the first members are shown.
    limit
        Most characters.
    quoted
        False to show text without quotes.
    """
    is_text = isinstance(value, str) and not quoted
    return _without_middle(str(value) if is_text else _REPR.repr(value), limit)


def listed(names: Iterable[object], *, limit: int = MAX_SHOWN) -> str:
    """Return names for a message, separated by commas: as many as fit, and the number of the others."""
    everything = list(names)
    texts = [shown(name, quoted=False) for name in everything[:MAX_NAMES]]
    while len(texts) > 1 and len(", ".join(texts)) > limit:
        texts.pop()
    n_more = len(everything) - len(texts)
    return ", ".join(texts) + (f" and {n_more:,} more" if n_more else "")


_SYNONYMS = (
    ("chunks", "chunksizes", "chunk", "chunk_shape", "chunk_size", "blocks"),
    ("compression_opts", "complevel", "level", "compression_level", "clevel"),
    ("compression", "zlib", "compress", "compressor", "compressors", "complib", "codec", "filters"),
    ("fillvalue", "_FillValue", "fill_value", "fill"),
    ("fletcher32", "checksum", "checksums", "crc"),
    ("attrs", "attributes", "attribute"),
    ("overwrite", "clobber", "replace"),
    ("maxshape", "unlimited", "resizable"),
    (
        "num_workers",
        "threads",
        "jobs",
        "n_jobs",
        "n_threads",
        "nthreads",
        "n_workers",
        "max_workers",
        "workers",
    ),
    ("max_memory", "memory", "memory_limit"),
    ("append_dim", "axis", "dim"),
    ("region", "slices", "selection"),
    ("scheduler", "client"),
    ("progress", "verbose", "pbar", "progressbar", "show_progress"),
    ("compute", "delayed", "lazy"),
    ("storage_options", "fs_kwargs", "backend_kwargs", "s3_options", "filesystem"),
    ("path", "filename", "filepath", "file", "out", "destination"),
)
"""Names that other libraries give to the same thing."""


def did_you_mean(word: str, known: Iterable[object]) -> str:
    """Return a suggestion for a word that is not known, or an empty text if no known word is similar.

    The way of every message about a keyword, a choice, a name or a path that does not exist.
    """
    import difflib  # now: only an error needs it, and it takes 1 ms of the start of each command

    words = [one for one in known if isinstance(one, str)]
    synonyms = [one for group in _SYNONYMS if word in group for one in group if one in words]
    cutoff = 0.0 if synonyms else 0.6
    found = difflib.get_close_matches(word, synonyms or words, n=1, cutoff=cutoff)
    return f"; did you mean {shown(found[0])}?" if found else ""


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""All control characters but tabs and line ends: a terminal obeys them, or they turn the order of letters around."""


def printable(text: str) -> str:
    """Return text that can be printed: with escapes for surrogates and control characters.

    Names that are not UTF-8 have surrogates, as in h5py, for their bytes. The file of a stranger may have a name that
    tells a terminal what to do.
    """
    there = text.encode(errors="backslashreplace").decode()
    return _CONTROL.sub(lambda one: one[0].encode("unicode_escape").decode(), there)


def printable_lines(lines: Iterable[str]) -> str:
    """Return lines that can be printed; a line end in one of them is an escape, too."""
    return "\n".join(printable(one).replace("\n", "\\n") for one in lines)


def counted(n: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _without_middle(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    n_head = 3 * limit // 5
    return f"{text[:n_head]} ... {text[n_head + 5 - limit :]}"


class StreamH5Error(Exception):
    """Base of every error raised by streamh5.

    Parameters
    ----------
    message
        Object, numbers and what to do, in one or two sentences. Values of any length are passed through `shown`; a
        message that is still longer than `MAX_MESSAGE` loses its middle.
    **facts
        The same values for programs, kept in ``facts``.

    Examples
    --------
    >>> try:
    ...     f = streamh5.File("x.h5", "w", libver="v99")
    ... except streamh5.StreamH5Error as error:
    ...     print(type(error).__name__, isinstance(error, ValueError), error.facts)
    SpecError True {'libver': 'v99'}
    """

    facts: dict[str, object]

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(_without_middle(message, MAX_MESSAGE))
        self.facts = facts


class SpecError(StreamH5Error, ValueError):
    """A request that contradicts itself or cannot be an HDF5 object."""


class KeywordError(SpecError, TypeError):
    """An unknown keyword of a function."""


class PathError(SpecError):
    """A dataset, group or link name that HDF5 cannot hold or that is taken."""


class ShapeError(SpecError):
    """A shape or maxshape that cannot be written."""


class ChunkShapeError(SpecError):
    """A chunk shape that does not fit its dataset."""


class FilterError(SpecError):
    """An unknown filter, an option out of range, or filters in an order that cannot be undone."""


class FillValueError(SpecError):
    """A fill value that the dataset's dtype cannot hold."""


class AttributeValueError(SpecError):
    """An attribute name or value that cannot be written."""


class CoordinateError(SpecError, KeyError):
    """A coordinate whose values are not those of the file that the data is written to; a `KeyError` as in xarray."""

    __str__ = Exception.__str__  # KeyError shows its message in quotes


class DatatypeError(StreamH5Error, TypeError):
    """A dtype that cannot be written to HDF5."""


class LimitError(StreamH5Error, OverflowError):
    """A limit of the HDF5 file format would be exceeded."""


def over_limit(subject: str, limit: int, advice: str = "", **facts: object) -> LimitError:
    """Return the error for a number of the subject that is above a limit of HDF5."""
    return LimitError(f"{subject}; HDF5 allows {limit:,}{advice}", limit=limit, **facts)


class BlockError(StreamH5Error, ValueError):
    """A block that does not fit its place: shape, alignment, position or size."""


class SourceError(StreamH5Error, ValueError):
    """A source that cannot be streamed."""


class SourceMissingError(SourceError, FileNotFoundError):
    """The source does not exist."""


class UnknownChunksError(SourceError):
    """A dask array with chunks of unknown (nan) size."""


class SchedulerError(SourceError):
    """A dask scheduler that streamh5 cannot write through."""


class StateError(StreamH5Error, RuntimeError):
    """A call at the wrong time: after close, after a failure, twice."""


class SinkError(StreamH5Error, OSError):
    """The destination cannot be written."""


class DestinationExistsError(SinkError, FileExistsError):
    """The destination exists and must not be replaced."""


class DestinationMissingError(SinkError, FileNotFoundError):
    """The directory of the destination does not exist, or a file that is to be changed."""


class DestinationBusyError(SinkError, BlockingIOError):
    """Another writer uses the same destination."""


class FormatError(StreamH5Error, ValueError):
    """Bytes that are not the HDF5 structure that they should be."""


class JournalError(FormatError):
    """A journal of an interrupted write that cannot be trusted."""


class ForeignStructureError(FormatError):
    """A structure of HDF5 that the reader does not know: it may be valid, but cannot be checked."""


class UnreadableError(FormatError, OSError):
    """Bytes that the operating system cannot read: a missing file, no permission, an I/O error."""


class FileMissingError(UnreadableError, FileNotFoundError):
    """The file does not exist."""


class InterruptedWriteError(SinkError, FileExistsError):
    """An interrupted write of the destination exists, which could be resumed."""


class StoreError(StreamH5Error, OSError):
    """A request to an object store that has failed; writers and readers of an object make another error of it.

    Attributes
    ----------
    reason
        ``"transient"`` (may pass: busy, unreachable, slow, reset), ``"missing"`` (no object), ``"exists"`` (it must not
        be replaced), ``"changed"`` (another version), ``"no upload"``, ``"part differs"``, ``"denied"`` (credentials),
        ``"refused"`` (anything else).

    Examples
    --------
    >>> from streamh5.stores.open_store import open_store
    >>> try:
    ...     open_store("memory://bucket/nothing.h5").read(0, 4)
    ... except streamh5.errors.StoreError as error:
    ...     print(error.reason)
    missing
    """

    def __init__(self, message: str, *, reason: str = "refused", **facts: object) -> None:
        super().__init__(message, reason=reason, **facts)

    @property
    def reason(self) -> str:
        """Why the request has failed."""
        return str(self.facts["reason"])


class ResumeError(StreamH5Error, ValueError):
    """An interrupted write differs from the one to be resumed; the message names the difference."""


class ReferencesError(StreamH5Error, ValueError):
    """A dataset whose stored chunks cannot be those of a zarr array, so references cannot be made to them."""


class MissingCodecError(StreamH5Error, ImportError):
    """A codec package that is not installed; the message names it, or the extra to install."""
