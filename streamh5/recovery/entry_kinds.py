"""The kinds of journal entries: the letter of each, how it is encoded, and how a decoded entry updates a `Journal`.

An entry is::

    "SJE" kind(1) | payload size(4, little-endian) | CRC-32 of the eight bytes before and the payload (4) | payload

The payload is JSON, except for C, I, Q and V, which are binary. Entries are appended, never changed. An entry that is
cut short or does not match its checksum ends the journal: what follows was never claimed. Nothing in a journal is
executed or unpickled.

To add a kind, add a constant and list it in `_ALL`: an encoder, whose arguments are those of the engine's method, and a
function that enters the payload in a `Journal`; for a new object, together with the function that creates it again in
a salvaged file. A reader of an older version refuses a letter that it does not know; `JOURNAL_VERSION` changes when an
older reader would misunderstand an entry that it knows.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

import numpy as np

from streamh5.errors import JournalError
from streamh5.model.chunk_records import RECORD
from streamh5.recovery.journal import Claims, Generation, Journal
from streamh5.recovery.journal_facts import (
    MAX_ADDRESS,
    address_of,
    attribute_facts,
    datatype_facts,
    front_facts,
    front_from_facts,
    link_facts,
)
from streamh5.recovery.journal_values import elements_facts
from streamh5.recovery.tree_changes import (
    dataset_facts,
    enter_attribute,
    enter_dataset,
    enter_freed,
    enter_made,
    enter_resized,
    enter_taken_back,
    group_facts,
    make_datatype,
    make_group,
    make_link,
    move_again,
    moved_facts,
    no_attribute_facts,
    opened_facts,
    path_facts,
    path_of,
    remove_again,
    resized_facts,
    taken_back_facts,
)
from streamh5.recovery.upload_state import UploadState, enter_held, enter_part
from streamh5.sinks.machine import boot_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.sinks.base import Buffer
    from streamh5.stores.base import PartReceipt

JOURNAL_VERSION = 2

P = ParamSpec("P")

MAGIC = b"SJE"
_CLAIM = struct.Struct("<I")
_JSON = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class EntryKind(Generic[P]):
    """One kind of entry.

    Parameters
    ----------
    letter
        The letter that names the kind in the file.
    payload
        Returns the payload: bytes, or a dict that becomes JSON.
    enter
        Enters a payload, decoded if it is JSON, in the journal. For an invalid one it raises one of
        `read_journal.NONSENSE`.
    is_json
        Whether the payload is JSON.

    Attributes
    ----------
    magic
        First bytes of every entry of this kind.
    """

    letter: str
    payload: Callable[P, Any]
    enter: Callable[[Journal, Any], None]
    is_json: bool = True
    magic: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "magic", MAGIC + self.letter.encode())

    def encode(self, *args: P.args, **kwargs: P.kwargs) -> bytes:
        """Encode an entry; the arguments are those of `payload`."""
        payload = self.payload(*args, **kwargs)
        if self.is_json:
            payload = _JSON.encode(payload).encode()
        head = self.magic + len(payload).to_bytes(4, "little")
        checksum = zlib.crc32(payload, zlib.crc32(head))
        return b"".join((head, checksum.to_bytes(4, "little"), payload))

    def decode(self, journal: Journal, payload: bytes) -> None:
        """Enter the payload of an entry in `journal`."""
        self.enter(journal, json.loads(payload) if self.is_json else payload)


# H: the header: journal version, durability, boot of the machine, name of the destination, inode of the partial file,
# options of the file, the state of the file that is added to, and how many datasets were numbered before. B: the file
# is about to become public in this state, for the last time or not. The entry counts if the file is found in that
# state: it then has everything before it, which `flush` therefore takes out of a long journal.
# S: the write was resumed, or other machines write as well from here on: durability, boot (null
# for other machines, whose claims no boot vouches for) and inode from here on.


def _header_facts(
    sink_facts: dict[str, Any], options: dict[str, Any], base: Generation | None = None, n_datasets: int = 0
) -> dict[str, Any]:
    facts = {"journal": JOURNAL_VERSION, "boot": boot_id(), "base": base, "numbers": n_datasets}
    return {**facts, **sink_facts, **options}


def _enter_header(journal: Journal, facts: dict[str, Any]) -> None:
    if journal.header:
        raise JournalError("the journal has a second header")
    if facts["journal"] != JOURNAL_VERSION:
        raise JournalError(
            f"the journal has version {facts['journal']}, this streamh5 reads {JOURNAL_VERSION}; finish with "
            "the streamh5 that began it, or start again with mode 'w' (overwrite=True), without resume",
            version=facts["journal"],
        )
    journal.header = facts
    if facts.get("base") is not None:
        journal.base = _generation(facts["base"])
        journal.end = journal.base.end_of_file
    journal.n_datasets = journal.first_number = address_of(facts.get("numbers", 0))
    _enter_session(journal, facts)


def _public_facts(generation: Generation, *, is_last: bool) -> dict[str, Any]:
    return {"base": generation, "last": is_last}


def _enter_public(journal: Journal, facts: dict[str, Any]) -> None:
    generation = _generation(facts["base"])
    journal.end = max(journal.end, generation.end_of_file)
    journal.is_unpublished = generation != journal.present
    if not journal.is_unpublished:
        journal.begin_generation(generation, is_over=bool(facts["last"]))


def _generation(facts: Any) -> Generation:
    end_of_file, root_address = facts
    return Generation(address_of(end_of_file), address_of(root_address))


def _session_facts(sink_facts: dict[str, Any]) -> dict[str, Any]:
    return {"boot": boot_id(), **sink_facts}


def _enter_session(journal: Journal, facts: dict[str, Any]) -> None:
    inode = facts.get("inode")
    if facts.get("resumed"):
        journal.begin_session()
    session = {"sync": facts["sync"], "boot": facts["boot"]}
    journal.sessions.append({**session, "inode": None if inode is None else address_of(inode)})


# E: elements of a dataset without chunks were set: number of the first, and their parts; the parts are null if they
# were too large. N: rows of an appended dataset at the end of its stream; 0 at its beginning.


def _enter_elements(journal: Journal, facts: dict[str, Any]) -> None:
    number = _number(facts, journal)
    if number >= journal.first_number:
        journal.values.setdefault(number, []).append(facts)


def _rows_facts(number: int, n_rows: int) -> dict[str, Any]:
    return {"dataset": number, "n_rows": n_rows}


def _enter_rows(journal: Journal, facts: dict[str, Any]) -> None:
    number = _number(facts, journal)
    if number >= journal.first_number:
        journal.claims.setdefault(number, Claims()).n_rows = address_of(facts["n_rows"])


# F: the front region was laid out: where headers and indexes will be. R: bytes up to an address are used by
# metadata of a snapshot, or by all chunks of a dataset (its number) with an Implicit index.


def _enter_front(journal: Journal, facts: dict[str, Any]) -> None:
    journal.front = front_from_facts(facts)
    journal.end = max(journal.end, journal.front.end)


def _used_facts(end: int, number: int | None = None, address: int | None = None) -> dict[str, Any]:
    return {"end": end} if number is None else {"end": end, "dataset": number, "address": address}


def _enter_used(journal: Journal, facts: dict[str, Any]) -> None:
    end = address_of(facts["end"])
    journal.end = max(journal.end, end)
    if "dataset" in facts:
        journal.regions[_number(facts, journal)] = (address_of(facts["address"]), end)


# C: chunks were stored: dataset(4), then n records, then n CRC-32 of the stored bytes. I: the same for incomplete
# chunks, with elements that were still to be written. V: void: the chunks claimed so
# far at these n addresses (8 bytes each) must not be used.


def _claims_payload(number: int, records: ChunkRecords, checksums: NDArray[np.uint32]) -> bytes:
    return _CLAIM.pack(number) + records.tobytes() + checksums.astype("<u4").tobytes()


def _enter_claims(journal: Journal, payload: bytes, *, is_partial: bool = False) -> None:
    (dataset,) = _CLAIM.unpack_from(payload)
    n, rest = divmod(len(payload) - _CLAIM.size, RECORD.itemsize + 4)
    if rest or n < 1 or not journal.knows(dataset):
        raise ValueError(f"claims of {len(payload)} bytes for dataset {dataset}")
    records: ChunkRecords = np.frombuffer(payload, RECORD, n, _CLAIM.size)
    if int(records["address"].max()) >= MAX_ADDRESS:
        raise ValueError(f"a chunk of dataset {dataset} at address {int(records['address'].max())}")
    if dataset >= journal.first_number:
        claims = journal.claims.setdefault(dataset, Claims())
        claims.records.append(records)
        claims.are_partial.append(is_partial)
        claims.positions.append(journal.nbytes)
        claims.checksums.append(np.frombuffer(payload, "<u4", n, _CLAIM.size + n * RECORD.itemsize))
        claims.ends.append(claims.n_rows)
    journal.end = max(journal.end, int((records["address"] + records["stored_nbytes"]).max()))


def _voids_payload(addresses: NDArray[np.uint64]) -> bytes:
    return addresses.astype("<u8").tobytes()


def _enter_voids(journal: Journal, payload: bytes) -> None:
    addresses = np.frombuffer(payload, "<u8")
    if not len(addresses):
        raise ValueError("it names no address")
    journal.voids.append((journal.nbytes, addresses))


# P: salvage is about to publish the file under a name other than the destination's.


def _enter_published(journal: Journal, facts: dict[str, Any]) -> None:
    journal.published.append(path_of(facts))


# Y: an object is written with this token, cut into parts by these steps (`PartSizes.steps`); then with the id of its
# upload. Before it began, `others` were there. K: the store has confirmed a part. Q: bytes that no confirmed part has:
# their address (8), then they.


def _upload_facts(
    token: str,
    upload: str | None,
    steps: Sequence[tuple[int, int, int]],
    others: Sequence[str] | None,
) -> dict[str, Any]:
    return {"token": token, "upload": upload, "steps": steps, "others": others}


def _enter_upload(journal: Journal, facts: dict[str, Any]) -> None:
    journal.upload = UploadState.of(facts, journal.upload)


def _part_facts(receipt: PartReceipt) -> dict[str, Any]:
    return receipt._asdict()


def _held_payload(address: int, content: Buffer) -> bytes:
    return address.to_bytes(8, "little") + bytes(content)


HEADER = EntryKind("H", _header_facts, _enter_header)
PUBLIC = EntryKind("B", _public_facts, _enter_public)
SESSION = EntryKind("S", _session_facts, _enter_session)
GROUP = EntryKind("G", group_facts, enter_made(make_group))
DATATYPE = EntryKind("T", datatype_facts, enter_made(make_datatype))
LINK = EntryKind("L", link_facts, enter_made(make_link))
DATASET = EntryKind("D", dataset_facts, enter_dataset)
OPENED = EntryKind("O", opened_facts, enter_dataset)
RESIZED = EntryKind("Z", resized_facts, enter_resized)
TAKEN_BACK = EntryKind("U", taken_back_facts, enter_taken_back)
REMOVED = EntryKind("X", path_facts, enter_freed(remove_again))
MOVED = EntryKind("M", moved_facts, enter_freed(move_again))
ATTRIBUTE = EntryKind("A", attribute_facts, enter_attribute)
NO_ATTRIBUTE = EntryKind("A", no_attribute_facts, enter_attribute)
ELEMENTS = EntryKind("E", elements_facts, _enter_elements)
ROWS = EntryKind("N", _rows_facts, _enter_rows)
FRONT = EntryKind("F", front_facts, _enter_front)
USED = EntryKind("R", _used_facts, _enter_used)
CLAIMS = EntryKind("C", _claims_payload, _enter_claims, is_json=False)
PARTIAL_CLAIMS = EntryKind("I", _claims_payload, partial(_enter_claims, is_partial=True), is_json=False)
VOIDS = EntryKind("V", _voids_payload, _enter_voids, is_json=False)
PUBLISHED = EntryKind("P", path_facts, _enter_published)
UPLOAD = EntryKind("Y", _upload_facts, _enter_upload)
PART = EntryKind("K", _part_facts, enter_part)
HELD = EntryKind("Q", _held_payload, enter_held, is_json=False)

_ALL: tuple[EntryKind[Any], ...] = (
    *(HEADER, PUBLIC, SESSION, GROUP, DATATYPE, LINK, DATASET, OPENED, RESIZED, TAKEN_BACK, REMOVED, MOVED),
    ATTRIBUTE,
    *(ELEMENTS, ROWS, FRONT, USED, CLAIMS, PARTIAL_CLAIMS, VOIDS, PUBLISHED),
    *(UPLOAD, PART, HELD),
)
KINDS: dict[str, EntryKind[Any]] = {kind.letter: kind for kind in _ALL}
"""Every kind by its letter."""


def _number(facts: dict[str, Any], journal: Journal) -> int:
    number = facts["dataset"]
    if type(number) is not int or not journal.knows(number):
        raise ValueError(f"dataset {number!r} is not in the journal")
    return number
