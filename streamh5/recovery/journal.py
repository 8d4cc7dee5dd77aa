"""The journal of a write: what has been stored so far, in entries that prove themselves.

The journal lies beside the partial file. It is a sequence of entries::

    "SJE" kind(1) | payload size(4, little-endian) | CRC-32 of the eight bytes before and the payload (4) | payload

====  ============  ===================================================================================
kind  payload       what it says
====  ============  ===================================================================================
H     JSON          header: journal version, durability, boot of the machine, name of the destination,
                    inode of the partial file, options of the file
G     JSON          a group was created
T     JSON          a named datatype was created
D     JSON          a dataset was created: its number, counted from 0, and what shapes its bytes
A     JSON          an attribute was set (its datatype message, shape and parts), or removed
E     JSON          elements of a dataset without chunks were set: from which one on, and their parts; null
                    for parts where they were too large
F     JSON          the front region was laid out: where headers and indexes will be
L     JSON          a link was made: hard to another path, soft or external
R     JSON          bytes up to an address are in use by something that is not a chunk of the stream
N     JSON          rows of an open-ended or appended dataset at the end of its stream
C     binary        chunks were stored: dataset(4), then n records, then n CRC-32 of the stored bytes
V     binary        void: the chunks claimed so far at these n addresses (8 each) are not to be used
U     JSON          a dataset was taken back, because its data did not come
S     JSON          the write was taken up: durability, boot of the machine and inode from here on
P     JSON          the file is about to get another name than the destination's (salvage)
====  ============  ===================================================================================

Entries are appended, never changed. An entry that is cut short or does not match its checksum ends
the journal: what comes after it was never claimed. Nothing in it is executed or unpickled.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import JournalError, StreamH5Error
from streamh5.format.superblock import SIZEOF_SUPERBLOCK
from streamh5.model.chunk_records import RECORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from streamh5.model.chunk_records import ChunkRecords

__all__ = [
    "JOURNAL_VERSION",
    "Claims",
    "Journal",
    "decode_journal",
    "encode_claims",
    "encode_entry",
    "encode_voids",
]

JOURNAL_VERSION = 2

_HEAD = struct.Struct("<3sc I I")
_MAGIC = b"SJE"
_CLAIM = struct.Struct("<I")
_MAX_ADDRESS = 1 << 62


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


def encode_voids(addresses: NDArray[np.uint64]) -> bytes:
    """Encode a V entry.

    Parameters
    ----------
    addresses
        ``(n,)`` uint64: what was claimed to lie there, in the entries before, is not to be used.
    """
    return _frame("V", addresses.astype("<u8").tobytes())


def _frame(kind: str, payload: bytes) -> bytes:
    head = _MAGIC + kind.encode() + len(payload).to_bytes(4, "little")
    checksum = zlib.crc32(payload, zlib.crc32(head))
    return head + checksum.to_bytes(4, "little") + payload


@dataclass(slots=True)
class Claims:
    """Chunks that the journal says are stored: records, checksums, and where the entries begin."""

    records: list[ChunkRecords] = field(default_factory=list)
    checksums: list[NDArray[np.uint32]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    n_rows: int | None = None


@dataclass(slots=True)
class Journal:
    """A decoded journal.

    Attributes
    ----------
    header
        Payload of its H entry.
    datasets
        Payloads of the D entries in their order.
    made
        Kinds and payloads of the G, T, D and L entries by path, the first of each, in their order: a path may lead
        through a link that was made before.
    attributes
        Payloads of the last A entry for each path and name that is there, in the order of creation.
    front
        Payload of the F entry; None when no data was written.
    regions
        First address and end of the chunks of datasets with an Implicit index, by path.
    claims
        By number of the dataset; what V entries take back is left out.
    values
        Payloads of the E entries in their order, by number of the dataset.
    sessions
        Payloads of the H entry and of the S entries.
    taken_back
        Numbers of the datasets of U entries.
    published
        Other names that the file may have got.
    end
        First address behind everything that was ever claimed.
    nbytes
        Bytes of the valid entries; what follows is to be cut off.
    """

    header: dict[str, Any]
    nbytes: int = 0
    datasets: list[dict[str, Any]] = field(default_factory=list)
    attributes: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    front: dict[str, Any] | None = None
    regions: dict[str, tuple[int, int]] = field(default_factory=dict)
    claims: dict[int, Claims] = field(default_factory=dict)
    values: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    made: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    taken_back: set[int] = field(default_factory=set)
    published: list[str] = field(default_factory=list)
    end: int = 0

    def take_back(self, path: str) -> None:
        """Forget a dataset and its attributes; its number is not used again."""
        kind, facts = self.made.pop(path)
        if kind != "D":
            raise ValueError(f"{path} is no dataset")
        self.taken_back.add(facts["number"])
        self.attributes = {key: one for key, one in self.attributes.items() if key[0] != path}

    def has_content(self, nbytes: int) -> bool:
        """Whether something would be lost with it: a value, or chunks in a partial file of `nbytes`."""
        return bool(nbytes if self.n_claimed else self.values)

    @property
    def inode(self) -> int | None:
        """Inode of the partial file when it was last written; None where the journal does not say."""
        inode: int | None = self.sessions[-1]["inode"]
        return inode

    @property
    def name(self) -> str | None:
        """Name of the destination in its directory; None where the journal does not say."""
        name = self.header.get("name")
        return name if isinstance(name, str) and "/" not in name and name not in ("", ".", "..") else None

    @property
    def n_claimed(self) -> int:
        """Chunks claimed, those written again counted each time."""
        return sum(len(records) for claims in self.claims.values() for records in claims.records)


NONSENSE = (
    *(AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError),
    *(StreamH5Error, struct.error, zlib.error),
)
"""What reading facts that nobody wrote can raise."""


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
    voids: list[tuple[int, NDArray[np.uint64]]] = []
    for kind, payload, end in _entries(log):
        try:
            if journal is None:
                journal = _begin(kind, payload)
            elif kind == "V":
                addresses = np.frombuffer(payload, "<u8")
                if not len(addresses):
                    raise ValueError("it names no address")
                voids.append((journal.nbytes, addresses))
            else:
                _enter(journal, kind, payload)
        except JournalError:
            raise
        except NONSENSE as error:
            raise JournalError(
                f"entry {kind!r} before byte {end} of the journal makes no sense: {error}"
            ) from error
        journal.nbytes = end
    if journal is None and _MAGIC + b"C" in log:
        raise JournalError(
            "the header of the journal is damaged, so its claims cannot be trusted; "
            "remove the partial file and its journal to start again"
        )
    if journal is not None and voids:
        _leave_out(journal, voids)
    if journal is not None:
        for number in journal.taken_back:
            journal.claims.pop(number, None)
            journal.values.pop(number, None)
    return journal


def _leave_out(journal: Journal, voids: list[tuple[int, NDArray[np.uint64]]]) -> None:
    """Drop claims for whose address a V entry follows: one pass, however many entries there are."""
    addresses = np.concatenate([addresses for _, addresses in voids])
    positions = np.concatenate([np.full(len(addresses), position) for position, addresses in voids])
    order = np.lexsort((positions, addresses))
    addresses, positions = addresses[order], positions[order]
    for claims in journal.claims.values():
        for i, (records, position) in enumerate(zip(claims.records, claims.positions, strict=True)):
            last = (
                np.searchsorted(addresses, records["address"], side="right") - 1
            )  # of that address, or less
            is_void = (last >= 0) & (addresses[last] == records["address"]) & (positions[last] > position)
            if is_void.any():
                claims.records[i] = records[~is_void]
                claims.checksums[i] = claims.checksums[i][~is_void]


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
            "the streamh5 that began it, or pass overwrite=True without resume to start again",
            version=header["journal"],
        )
    return Journal(header, sessions=[_session(header)])


def _session(facts: dict[str, Any]) -> dict[str, Any]:
    inode = facts.get("inode")
    return {
        "sync": facts["sync"],
        "boot": facts["boot"],
        "inode": None if inode is None else _address(inode),
    }


def _enter(journal: Journal, kind: str, payload: bytes) -> None:
    if kind == "C":
        _enter_claims(journal, payload)
        return
    facts = json.loads(payload)
    if kind in ("G", "T", "D", "L"):
        is_new = journal.made.setdefault(_path(facts), (kind, facts))[1] is facts
        if kind == "D" and not is_new:
            raise ValueError(f"a second object {facts['path']}")
    if kind == "D":
        # claims go by number: an entry that is missing or there twice must not shift them
        if facts["number"] != len(journal.datasets):
            raise ValueError(f"dataset {facts['number']} follows on {len(journal.datasets)} datasets")
        journal.datasets.append(facts)
    elif kind == "A" and facts["datatype"] is None:
        journal.attributes.pop((_path(facts), facts["name"]), None)
    elif kind == "A":
        journal.attributes[_path(facts), facts["name"]] = facts
    elif kind == "F":
        _check_front(facts)
        journal.front = facts
        journal.end = max(journal.end, facts["end"])
    elif kind == "R":
        end = _address(facts["end"])
        journal.end = max(journal.end, end)
        if "path" in facts:
            journal.regions[facts["path"]] = (_address(facts["address"]), end)
    elif kind == "N":
        journal.claims.setdefault(_number(facts, journal), Claims()).n_rows = _address(facts["n_rows"])
    elif kind == "E":
        journal.values.setdefault(_number(facts, journal), []).append(facts)
    elif kind == "U":
        journal.take_back(_path(facts))
    elif kind == "S":
        journal.sessions.append(_session(facts))
    elif kind == "P":
        journal.published.append(_path(facts))
    elif kind not in ("G", "T", "L"):
        raise JournalError(f"the journal has an entry of unknown kind {kind!r}")


def _path(facts: dict[str, Any]) -> str:
    if not isinstance(facts["path"], str):
        raise TypeError(f"path {facts['path']!r}")
    return facts["path"]


def _number(facts: dict[str, Any], journal: Journal) -> int:
    number = facts["dataset"]
    if type(number) is not int or not 0 <= number < len(journal.datasets):
        raise ValueError(f"dataset {number!r} of {len(journal.datasets)}")
    return number


def _address(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MAX_ADDRESS:
        raise ValueError(f"address or count {value!r}")
    return value


def _check_front(facts: dict[str, Any]) -> None:
    """Refuse a front region whose parts do not lie in it one after the other."""
    end = _address(facts["end"])
    places = [*facts["headers"].values(), *facts["indexes"].values()]
    if facts["heap"] is not None:
        places.append(facts["heap"])
    first = SIZEOF_SUPERBLOCK
    for address, nbytes in sorted((_address(address), _address(nbytes)) for address, nbytes in places):
        if address < first and nbytes:
            raise ValueError(f"two regions of the front at {address}")
        first = max(first, address + nbytes)
    if first > end:
        raise ValueError(f"a region at {first} in a front region that ends at {end}")


def _enter_claims(journal: Journal, payload: bytes) -> None:
    (dataset,) = _CLAIM.unpack_from(payload)
    n, rest = divmod(len(payload) - _CLAIM.size, RECORD.itemsize + 4)
    if rest or n < 1 or dataset >= len(journal.datasets):
        raise ValueError(f"claims of {len(payload)} bytes for dataset {dataset}")
    records: ChunkRecords = np.frombuffer(payload, RECORD, n, _CLAIM.size)
    if int(records["address"].max()) >= _MAX_ADDRESS:
        raise ValueError(f"a chunk of dataset {dataset} at address {int(records['address'].max())}")
    claims = journal.claims.setdefault(dataset, Claims())
    claims.records.append(records)
    claims.positions.append(journal.nbytes)
    claims.checksums.append(np.frombuffer(payload, "<u4", n, _CLAIM.size + n * RECORD.itemsize))
    journal.end = max(journal.end, int((records["address"] + records["stored_nbytes"]).max()))
