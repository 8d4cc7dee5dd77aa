"""The journal of a write: what has been stored so far, in entries that prove themselves.

The journal lies beside the partial file. It is a sequence of entries::

    "SJE" kind(1) | payload size(4, little-endian) | CRC-32 of the eight bytes before and the payload (4) | payload

====  ============  ===================================================================================
kind  payload       what it says
====  ============  ===================================================================================
H     JSON          header: journal version, durability, boot of the machine, options of the file
G     JSON          a group was created
D     JSON          a dataset was created: everything that shapes its bytes; datasets count from 0
A     JSON          an attribute was set, or removed
F     JSON          the front region was laid out: where headers and indexes will be
L     JSON          a link was made: hard to another path, soft or external
R     JSON          bytes up to an address are in use by something that is not a chunk of the stream
N     JSON          rows of an open-ended or appended dataset at the end of its stream
C     binary        chunks were stored: dataset(4), then n records, then n CRC-32 of the stored bytes
====  ============  ===================================================================================

Entries are appended, never changed. An entry that is cut short or does not match its checksum ends
the journal: what comes after it was never claimed. Nothing in it is executed or unpickled.
"""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import JournalError
from streamh5.format.filter_pipeline import FilterRecord
from streamh5.format.link import ExternalLink, SoftLink
from streamh5.plan.chunk_table import RECORD
from streamh5.plan.dataset_spec import DatasetSpec
from streamh5.plan.dtype_facts import dtype_facts, dtype_from_facts
from streamh5.plan.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from streamh5.plan.chunk_table import ChunkRecords
    from streamh5.plan.tree import LinkedTarget

__all__ = [
    "JOURNAL_VERSION",
    "Claims",
    "Journal",
    "decode_journal",
    "encode_claims",
    "encode_entry",
    "link_facts",
    "spec_facts",
    "spec_from_facts",
    "value_facts",
    "value_from_facts",
]

JOURNAL_VERSION = 1

_HEAD = struct.Struct("<3sc I I")
_MAGIC = b"SJE"
_CLAIM = struct.Struct("<I")


def encode_entry(kind: str, facts: dict[str, Any]) -> bytes:
    """Encode an entry whose payload is JSON."""
    return _frame(kind, json.dumps(facts, separators=(",", ":")).encode())


def encode_claims(dataset: int, records: ChunkRecords, checksums: NDArray[np.uint32]) -> bytes:
    """Encode a C entry.

    Parameters
    ----------
    dataset
        Number of the dataset in the journal.
    records
        ``(n,)`` of `RECORD`.
    checksums
        ``(n,)`` uint32: CRC-32 of each chunk's stored bytes.
    """
    return _frame("C", _CLAIM.pack(dataset) + records.tobytes() + checksums.astype("<u4").tobytes())


def _frame(kind: str, payload: bytes) -> bytes:
    head = _MAGIC + kind.encode() + len(payload).to_bytes(4, "little")
    checksum = zlib.crc32(payload, zlib.crc32(head))
    return head + checksum.to_bytes(4, "little") + payload


@dataclass(slots=True)
class Claims:
    """Chunks that the journal says are stored: consecutive records and their checksums."""

    records: list[ChunkRecords] = field(default_factory=list)
    checksums: list[NDArray[np.uint32]] = field(default_factory=list)
    n_rows: int | None = None


@dataclass(slots=True)
class Journal:
    """A decoded journal.

    Attributes
    ----------
    header
        Payload of its H entry.
    groups, datasets
        Payloads of the G entries by path, and of the D entries in their order.
    attributes
        Payloads of the last A entry for each path and name.
    front
        Payload of the F entry; None when no data was written.
    reserved
        First address behind everything that R entries name.
    regions
        First address and end of the chunks of datasets with an Implicit index, by path.
    links
        Payloads of the L entries in their order.
    claims
        By number of the dataset.
    nbytes
        Bytes of the valid entries; what follows is to be cut off.
    """

    header: dict[str, Any]
    nbytes: int = 0
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    datasets: list[dict[str, Any]] = field(default_factory=list)
    attributes: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    front: dict[str, Any] | None = None
    reserved: int = 0
    regions: dict[str, tuple[int, int]] = field(default_factory=dict)
    links: list[dict[str, Any]] = field(default_factory=list)
    claims: dict[int, Claims] = field(default_factory=dict)

    @property
    def n_claimed(self) -> int:
        """Chunks claimed, those written again counted each time."""
        return sum(len(records) for claims in self.claims.values() for records in claims.records)

    @property
    def end(self) -> int:
        """First address behind everything that is claimed."""
        end = max(self.reserved, 0 if self.front is None else int(self.front["end"]))
        for claims in self.claims.values():
            for records in claims.records:
                end = max(end, int((records["address"] + records["stored_nbytes"]).max()))
        return end


def decode_journal(log: bytes) -> Journal | None:
    """Decode a journal as far as it is whole.

    Parameters
    ----------
    log
        Content of the journal file.

    Returns
    -------
    Journal or None
        None when nothing was claimed: the log is empty, or ends within its first entry.

    Raises
    ------
    JournalError
        It is not a journal, is of another version, or its header is damaged though claims follow.
    """
    journal: Journal | None = None
    for kind, payload, end in _entries(log):
        try:
            if journal is None:
                journal = _begin(kind, payload)
            else:
                _enter(journal, kind, payload)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            if isinstance(error, JournalError):
                raise
            raise JournalError(
                f"entry {kind!r} before byte {end} of the journal makes no sense: {error}"
            ) from error
        journal.nbytes = end
    if journal is None and _MAGIC + b"C" in log:
        raise JournalError(
            "the header of the journal is damaged, so its claims cannot be trusted; "
            "remove the partial file and its journal to start again"
        )
    return journal


def _entries(log: bytes) -> Iterator[tuple[str, bytes, int]]:
    position = 0
    while position + 12 <= len(log):
        head, checksum = log[position : position + 8], log[position + 8 : position + 12]
        start = position + 12
        end = start + int.from_bytes(head[4:], "little")
        if head[:3] != _MAGIC or end > len(log):
            return
        payload = log[start:end]
        if zlib.crc32(payload, zlib.crc32(head)) != int.from_bytes(checksum, "little"):
            return
        yield chr(head[3]), payload, end
        position = end


def _begin(kind: str, payload: bytes) -> Journal:
    if kind != "H":
        raise JournalError(f"the journal begins with an entry {kind!r} instead of its header")
    header = json.loads(payload)
    if header["journal"] != JOURNAL_VERSION:
        raise JournalError(
            f"the journal has version {header['journal']}, this streamh5 reads {JOURNAL_VERSION}; finish with "
            f"the streamh5 that began it ({header.get('streamh5')}), or remove the partial file",
            version=header["journal"],
        )
    return Journal(header)


def _enter(journal: Journal, kind: str, payload: bytes) -> None:
    if kind == "C":
        _enter_claims(journal, payload)
        return
    facts = json.loads(payload)
    if kind == "G":
        journal.groups[facts["path"]] = facts
    elif kind == "D":
        journal.datasets.append(facts)
    elif kind == "A":
        journal.attributes[facts["path"], facts["name"]] = facts
    elif kind == "F":
        journal.front = facts
    elif kind == "R":
        journal.reserved = max(journal.reserved, int(facts["end"]))
        if "path" in facts:
            journal.regions[facts["path"]] = (int(facts["address"]), int(facts["end"]))
    elif kind == "L":
        journal.links.append(facts)
    elif kind == "N":
        journal.claims.setdefault(int(facts["dataset"]), Claims()).n_rows = int(facts["n_rows"])
    else:
        raise JournalError(f"the journal has an entry of unknown kind {kind!r}")


def _enter_claims(journal: Journal, payload: bytes) -> None:
    (dataset,) = _CLAIM.unpack_from(payload)
    n, rest = divmod(len(payload) - _CLAIM.size, RECORD.itemsize + 4)
    if rest or dataset >= len(journal.datasets):
        raise ValueError(f"claims of {len(payload)} bytes for dataset {dataset}")
    claims = journal.claims.setdefault(dataset, Claims())
    claims.records.append(np.frombuffer(payload, RECORD, n, _CLAIM.size))
    claims.checksums.append(np.frombuffer(payload, "<u4", n, _CLAIM.size + n * RECORD.itemsize))


def spec_facts(spec: DatasetSpec) -> dict[str, Any]:
    """Everything of a dataset's plan that shapes its bytes, as JSON."""
    return {
        "path": spec.path,
        "shape": None if spec.shape is None else list(spec.shape),
        "dtype": dtype_facts(spec.dtype),
        "chunks": None if spec.chunks is None else list(spec.chunks),
        "filters": [[f.filter_id, f.name, f.flags, list(f.client_values)] for f in spec.filters],
        "fillvalue": None if spec.fillvalue is None else spec.fillvalue.tobytes().hex(),
        "track_order": spec.track_order,
        "maxshape": None if spec.maxshape is None else list(spec.maxshape),
        "early": spec.is_early,
        "libver": spec.libver,
    }


def spec_from_facts(facts: dict[str, Any]) -> DatasetSpec:
    """Plan of a dataset from its D entry."""
    dtype = dtype_from_facts(facts["dtype"])
    fill = facts["fillvalue"]
    return DatasetSpec(
        path=facts["path"],
        shape=None if facts["shape"] is None else tuple(facts["shape"]),
        dtype=dtype,
        chunks=None if facts["chunks"] is None else tuple(facts["chunks"]),
        filters=tuple(
            FilterRecord(i, name, flags, tuple(values)) for i, name, flags, values in facts["filters"]
        ),
        fillvalue=None if fill is None else np.frombuffer(bytes.fromhex(fill), dtype)[0:1].reshape(()),
        track_order=facts["track_order"],
        maxshape=None if facts["maxshape"] is None else tuple(facts["maxshape"]),
        is_early=facts["early"],
        libver=facts["libver"],
    )


def link_facts(target: LinkedTarget) -> dict[str, Any]:
    """Target of a link as JSON."""
    if isinstance(target, SoftLink):
        return {"soft": target.path}
    if isinstance(target, ExternalLink):
        return {"external": [target.filename, target.path]}
    return {"hard": target.path}


def value_facts(value: Any) -> dict[str, Any]:
    """Attribute value as JSON: text and references as they are, numbers as the bytes of an array."""
    references = _reference_paths(value)
    if references is not None:
        return {"references": references}
    if getattr(value, "shape", ()) is None:
        return {"empty": dtype_facts(np.dtype(value.dtype))}
    array = np.asarray(value)
    if array.dtype.kind in "UTO":
        texts = [
            x.decode("utf-8") if isinstance(x, bytes) else x for x in array.astype(object).ravel().tolist()
        ]
        return {"strings": texts, "shape": list(array.shape)}
    data = b64encode(array.tobytes()).decode()
    return {"dtype": dtype_facts(array.dtype), "shape": list(array.shape), "data": data}


def value_from_facts(facts: dict[str, Any]) -> Any:
    """Attribute value from its A entry; a null dataspace as None."""
    if "references" in facts:
        return _references(facts["references"])
    if "empty" in facts:
        return None
    shape = tuple(facts["shape"])
    if "strings" in facts:
        strings = np.array(facts["strings"], object).reshape(shape)
        return strings if shape else strings[()]
    return np.frombuffer(b64decode(facts["data"]), dtype_from_facts(facts["dtype"])).reshape(shape)


def _reference_paths(value: Any) -> Any:
    """Paths of a reference, or of (nested) lists of them; None for other values."""
    if isinstance(value, Reference):
        return value.path
    if not isinstance(value, (list, tuple)) or not value:
        return None
    paths = [_reference_paths(item) for item in value]
    return None if any(path is None for path in paths) else paths


def _references(paths: Any) -> Any:
    return Reference(paths) if isinstance(paths, str) else [_references(path) for path in paths]
