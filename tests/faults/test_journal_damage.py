"""A journal that is cut, flipped, foreign, old or made up: resumed right, or refused; never a wrong file."""

from __future__ import annotations

import json
import os
import resource
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import streamh5
from streamh5.errors import BlockError, JournalError, ResumeError, StreamH5Error
from streamh5.recovery.read_journal import decode_journal
from tests.faults import work
from tests.faults.systems import Crash, copy_folder, crashing, installed
from tests.faults.tally import tried


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interrupted write with chunks of every dataset."""
    folder = tmp_path_factory.mktemp("interrupted") / "write"
    folder.mkdir()
    calls = crashing(60, "after")
    with installed(calls), pytest.raises(Crash):
        work.write(folder / "out.h5", checkpoint=True)
    calls.bury()
    return folder


def damaged(interrupted: Path, to: Path, journal: bytes) -> Path:
    folder = copy_folder(interrupted, to)
    (folder / "out.h5.partial.journal").write_bytes(journal)
    return folder / "out.h5"


def resumed_right_or_refused(path: Path) -> bool:
    """Tell whether it was refused."""
    try:
        work.write(path)
    except (BlockError, JournalError, ResumeError):
        assert not path.exists()
        return True
    work.check_complete(path)
    return False


def cut_everywhere(interrupted: Path, tmp_path: Path, step: int) -> int:
    journal = (interrupted / "out.h5.partial.journal").read_bytes()
    points = range(0, len(journal), step)
    for at in points:
        path = damaged(interrupted, tmp_path / f"{at}", journal[:at])
        assert not resumed_right_or_refused(path), "a torn tail is no damage"
    return len(points)


def test_journal_cut_anywhere_is_resumed_right(interrupted: Path, tmp_path: Path) -> None:
    tried("journal cut at a byte", cut_everywhere(interrupted, tmp_path, 41))


@pytest.mark.campaign
def test_journal_cut_at_every_byte_is_resumed_right(interrupted: Path, tmp_path: Path) -> None:
    tried("journal cut at a byte", cut_everywhere(interrupted, tmp_path, 1))


def test_what_follows_on_a_torn_tail_is_not_lost(interrupted: Path, tmp_path: Path) -> None:
    journal = (interrupted / "out.h5.partial.journal").read_bytes()
    path = damaged(interrupted, tmp_path / "torn", journal + journal[:7])
    for _ in range(2):  # what the first adds, the second finds behind the tail that was cut off
        calls = crashing(8, "after")
        with installed(calls), pytest.raises(Crash):
            work.write(path)
        calls.bury()
        now = Path(f"{path}.partial.journal").read_bytes()
        assert sum(12 + len(payload) for _, payload in entries(now)) == len(now)
        assert now.startswith(journal)
        decoded = decode_journal(now)
        assert decoded is not None
        assert decoded.nbytes == len(now) > len(journal)
    work.write(path)
    work.check_complete(path)


def flip_everywhere(interrupted: Path, tmp_path: Path, step: int, bits: tuple[int, ...]) -> int:
    journal = (interrupted / "out.h5.partial.journal").read_bytes()
    points = range(0, len(journal), step)
    for at in points:
        for bit in bits:
            flipped = bytearray(journal)
            flipped[at] ^= 1 << bit
            resumed_right_or_refused(damaged(interrupted, tmp_path / f"{at}-{bit}", bytes(flipped)))
    return len(points) * len(bits)


def test_journal_with_a_byte_flipped_is_resumed_right_or_refused(interrupted: Path, tmp_path: Path) -> None:
    tried("bit of the journal flipped", flip_everywhere(interrupted, tmp_path, 43, (0,)))


@pytest.mark.campaign
def test_journal_with_every_byte_flipped_is_resumed_right_or_refused(
    interrupted: Path, tmp_path: Path
) -> None:
    tried("bit of the journal flipped", flip_everywhere(interrupted, tmp_path, 1, (0, 7)))


def entry(kind: str, payload: bytes | dict[str, Any]) -> bytes:
    """An entry of the journal, made by hand from its description."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    head = b"SJE" + kind.encode() + len(body).to_bytes(4, "little")
    return head + zlib.crc32(head + body).to_bytes(4, "little") + body


def entries(journal: bytes) -> list[tuple[str, bytes]]:
    found = []
    while journal:
        size = int.from_bytes(journal[4:8], "little")
        found.append((chr(journal[3]), journal[12 : 12 + size]))
        journal = journal[12 + size :]
    return found


def header_of(interrupted: Path) -> dict[str, Any]:
    kind, payload = entries((interrupted / "out.h5.partial.journal").read_bytes())[0]
    assert kind == "H"
    header: dict[str, Any] = json.loads(payload)
    return header


@pytest.mark.parametrize("version", [0, 1, 3, None, "2"])
def test_journal_of_another_version_is_refused(interrupted: Path, tmp_path: Path, version: Any) -> None:
    all_entries = entries((interrupted / "out.h5.partial.journal").read_bytes())
    journal = entry("H", {**header_of(interrupted), "journal": version})
    journal += b"".join(entry(*one) for one in all_entries[1:])
    path = damaged(interrupted, tmp_path / "copy", journal)
    with pytest.raises(JournalError, match="version"):
        work.write(path)
    with pytest.raises(JournalError):
        streamh5.salvage(f"{path}.partial")
    assert Path(f"{path}.partial.journal").read_bytes() == journal, "another streamh5 can finish it"
    work.write(path, resume=False)  # overwrite=True: begin anew
    work.check_complete(path)
    tried("journal of another version")


def test_journal_with_an_entry_missing_or_twice_is_never_a_wrong_file(
    interrupted: Path, tmp_path: Path
) -> None:
    all_entries = entries((interrupted / "out.h5.partial.journal").read_bytes())
    for i in range(len(all_entries)):
        for name, changed in (
            ("without", all_entries[:i] + all_entries[i + 1 :]),
            ("twice", all_entries[: i + 1] + all_entries[i:]),
        ):
            path = damaged(interrupted, tmp_path / f"{name}-{i}", b"".join(entry(*one) for one in changed))
            resumed_right_or_refused(path)
    tried("entry of the journal missing or twice", 2 * len(all_entries))


FRONT = {"headers": {"/": [48, 100]}, "indexes": {}, "heap": None, "end": 4096}
OPEN_ENDED = {
    "number": 0,
    "path": "/x",
    "shape": [None, 4],
    "dtype": "<i4",
    "chunks": [1, 4],
    "filters": [],
    "fillvalue": None,
    "track_order": False,
    "maxshape": None,
    "early": False,
    "libver": "v110",
    "source": None,
}
RECORD = np.dtype("<u8, <u8, <u4, <u4")


def claim(number: int, address: int, stored: int = 16, mask: int = 0, dataset: int = 0) -> bytes:
    record = np.array([(number, address, stored, mask)], RECORD)
    return entry("C", dataset.to_bytes(4, "little") + record.tobytes() + bytes(4))


def crafted(folder: Path, header: dict[str, Any], rest: list[bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "out.h5"
    Path(f"{path}.partial").write_bytes(bytes(8192))
    Path(f"{path}.partial.journal").write_bytes(entry("H", header) + b"".join(rest))
    return path


def resume_open_ended(path: Path) -> None:
    with streamh5.File(path, resume=True) as file:
        rows = file.create_dataset("x", (None, 4), "i4", chunks=(1, 4))
        rows.append(np.zeros(4))


def try_both(path: Path) -> None:
    """Salvage and resume: our errors, or files that h5py opens."""
    copy = copy_folder(path.parent, path.parent.with_name(path.parent.name + "-copy"))
    try:
        streamh5.salvage(copy / "out.h5.partial", output=copy / "some.h5")
    except StreamH5Error:
        assert not (copy / "some.h5").exists()
    else:
        with h5py.File(copy / "some.h5") as file:
            file.visititems(lambda name, one: one[..., :1][:4] if getattr(one, "ndim", 0) else None)
    try:
        resume_open_ended(path)
    except StreamH5Error:
        assert not path.exists()
    else:
        h5py.File(path).close()


@pytest.mark.parametrize(
    "rest",
    {
        "number far beyond the grid": [entry("D", OPEN_ENDED), entry("F", FRONT), claim(2**60, 4096)],
        "number beyond all": [entry("D", OPEN_ENDED), entry("F", FRONT), claim(2**64 - 1, 4096)],
        "number that a table of 30 GB would hold": [
            entry("D", OPEN_ENDED),
            entry("F", FRONT),
            claim(2**32, 4096),
        ],
        "petabytes of table": [
            entry("D", {**OPEN_ENDED, "shape": [2**50, 4]}),
            entry("F", FRONT),
            claim(0, 4096),
        ],
        "shape beyond 64 bits": [
            entry("D", {**OPEN_ENDED, "shape": [2**70, 4]}),
            entry("F", FRONT),
            claim(0, 4096),
        ],
        "address beyond the file": [entry("D", OPEN_ENDED), entry("F", FRONT), claim(0, 2**40)],
        "address that overflows": [entry("D", OPEN_ENDED), entry("F", FRONT), claim(0, 2**64 - 8)],
        "address in the front": [entry("D", OPEN_ENDED), entry("F", FRONT), claim(0, 48)],
        "size that is not the chunk's": [entry("D", OPEN_ENDED), entry("F", FRONT), claim(0, 4096, 15)],
        "mask without filters": [entry("D", OPEN_ENDED), entry("F", FRONT), claim(0, 4096, 16, 1)],
        "claims without a front": [entry("D", OPEN_ENDED), claim(0, 4096)],
        "claims of an unknown dataset": [
            entry("D", OPEN_ENDED),
            entry("F", FRONT),
            claim(0, 4096, dataset=9),
        ],
        "front that overlaps itself": [
            entry("D", OPEN_ENDED),
            entry("F", {**FRONT, "headers": {"/": [48, 100], "/x": [100, 100]}}),
            claim(0, 4096),
        ],
        "front over the superblock": [
            entry("D", OPEN_ENDED),
            entry("F", {**FRONT, "headers": {"/": [0, 100]}}),
            claim(0, 4096),
        ],
        "end beyond all files": [
            entry("D", OPEN_ENDED),
            entry("F", FRONT),
            claim(0, 4096),
            entry("R", {"end": 2**61}),
        ],
        "rows without end": [
            entry("D", OPEN_ENDED),
            entry("F", FRONT),
            claim(0, 4096),
            entry("N", {"dataset": 0, "n_rows": 2**61}),
        ],
        "void of nothing": [entry("D", OPEN_ENDED), entry("F", FRONT), entry("V", b""), claim(0, 4096)],
        "JSON that is deep": [entry("D", OPEN_ENDED), entry("F", FRONT), entry("A", b"[" * 200_000)],
        "dtype of objects": [
            entry("D", {**OPEN_ENDED, "dtype": "|O"}),
            entry("F", FRONT),
            claim(0, 4096),
        ],
        "attribute of petabytes": [
            entry("D", OPEN_ENDED),
            entry("F", FRONT),
            claim(0, 4096),
            entry(
                "A", {"path": "/", "name": "a", "value": {"dtype": "<f8", "shape": [2**50], "data": "AAAA"}}
            ),
        ],
        "string attribute of petabytes": [
            entry("D", OPEN_ENDED),
            entry("F", FRONT),
            claim(0, 4096),
            entry("A", {"path": "/", "name": "a", "value": {"strings": ["x"], "shape": [2**50]}}),
        ],
        "attribute of nothing": [
            entry("D", OPEN_ENDED),
            entry("F", FRONT),
            claim(0, 4096),
            entry("A", {"path": "/nothing", "name": "a", "value": None}),
        ],
    }.items(),
    ids=lambda rest: rest[0].replace(" ", "-"),
)
def test_journal_that_is_made_up_ends_in_our_errors(
    interrupted: Path, tmp_path: Path, rest: tuple[str, list[bytes]]
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try_both(crafted(tmp_path / "made-up", header_of(interrupted), rest[1]))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 600_000, f"{grown:,} KiB"
    tried("journal made up")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NUMBERS = st.sampled_from([0, 1, 7, 4096, 4112, 8192, 2**31, 2**32, 2**60, 2**62, 2**63 - 1, 2**64 - 1])


@st.composite
def journals(draw: st.DrawFn) -> list[bytes]:
    """Entries with good checksums and bad content."""
    spec: dict[str, Any] = dict(OPEN_ENDED)
    for key in draw(st.lists(st.sampled_from(sorted(spec)), max_size=2)):
        spec[key] = draw(JSON | NUMBERS | st.lists(NUMBERS, max_size=3))
    front: dict[str, Any] = dict(FRONT)
    for key in draw(st.lists(st.sampled_from(sorted(front)), max_size=1)):
        front[key] = draw(JSON)
    rest = [entry("D", spec), entry("F", front)]
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from("GDAFRLNCVSPX"))
        if kind == "C":
            rest.append(
                claim(
                    draw(NUMBERS),
                    draw(NUMBERS),
                    draw(st.sampled_from([0, 16, 2**32 - 1])),
                    draw(st.sampled_from([0, 1])),
                    draw(st.sampled_from([0, 1, 2**31])),
                )
            )
        elif kind == "V":
            rest.append(entry("V", draw(st.binary(max_size=24))))
        else:
            keys = ["path", "name", "value", "number", "dataset", "n_rows", "end", "address", "soft", "hard"]
            keys += ["external", "track_order", "sync", "boot"]
            facts = {
                key: draw(JSON | NUMBERS | st.just("/x")) for key in draw(st.sets(st.sampled_from(keys)))
            }
            rest.append(entry(kind, facts))
    return rest


def fuzz(rest: list[bytes], tail: bytes, folder: Path, header: dict[str, Any]) -> None:
    for name in os.listdir(folder):
        for one in (folder / name).iterdir():
            one.unlink()
        (folder / name).rmdir()
    try_both(crafted(folder / "write", header, [*rest, tail]))
    tried("journal fuzzed")


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(rest=journals(), tail=st.binary(max_size=40))
@example(rest=[entry("D", OPEN_ENDED), entry("F", FRONT), claim(0, 4096)], tail=b"")
def test_fuzzed_journal_ends_in_our_errors(
    interrupted: Path, tmp_path: Path, rest: list[bytes], tail: bytes
) -> None:
    fuzz(rest, tail, tmp_path, header_of(interrupted))


@pytest.mark.campaign
@settings(max_examples=5000, suppress_health_check=list(HealthCheck))
@given(rest=journals(), tail=st.binary(max_size=40))
def test_long_fuzzed_journal_ends_in_our_errors(
    interrupted: Path, tmp_path: Path, rest: list[bytes], tail: bytes
) -> None:
    fuzz(rest, tail, tmp_path, header_of(interrupted))


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=200))
def test_random_bytes_as_journal_end_in_our_errors(tmp_path: Path, content: bytes) -> None:
    for one in tmp_path.iterdir():
        one.unlink()
    path = tmp_path / "out.h5"
    Path(f"{path}.partial").write_bytes(content)
    Path(f"{path}.partial.journal").write_bytes(content)
    tried("journal fuzzed")
    with pytest.raises(StreamH5Error):
        streamh5.salvage(f"{path}.partial")
    try:
        resume_open_ended(path)
    except StreamH5Error:
        return
    h5py.File(path).close()
