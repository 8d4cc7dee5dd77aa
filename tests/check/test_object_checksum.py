"""Objects are compared with the checksums of their store: S3's entity tags, of one request and of parts."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3fs import S3FileSystem

import streamh5
from streamh5.check import object_checksum
from streamh5.check.object_checksum import compare_object
from streamh5.cli.main import main
from streamh5.errors import FormatError, StoreError, UnreadableError
from streamh5.stores.checksums import ALGORITHMS, StoredChecksum
from streamh5.stores.open_store import open_store
from streamh5.stores.s3 import S3Store
from tests.check.test_objects import many_datasets
from tests.stores.memory_objects import as_object
from tests.stores.readable import NotedObject
from tests.stores.servers import S3Server

CONTENT = np.random.default_rng(2).bytes(1000)
EDGES = (0, 300, 300 + 256, 1000)


class Checked(NotedObject):
    """An object with a checksum."""

    stored: StoredChecksum | StoreError | None = None

    def checksum(self, version: str) -> StoredChecksum | None:
        if isinstance(self.stored, StoreError):
            raise self.stored
        return self.stored


def compare(content: bytes, stored: StoredChecksum | StoreError | None) -> str:
    store = Checked(content)
    store.stored = stored
    return compare_object(store, store.read_start(1)[0].version, jobs=3, progress=lambda nbytes: None)


def stored_checksums() -> dict[str, StoredChecksum]:
    parts = [CONTENT[start:stop] for start, stop in pairwise(EDGES)]
    of_parts = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).digest()
    one_part = hashlib.md5(hashlib.md5(CONTENT).digest()).digest()
    return {
        "MD5": StoredChecksum("MD5", hashlib.md5(CONTENT).digest()),
        "MD5 of 3 parts": StoredChecksum("MD5", of_parts, EDGES),
        "MD5 of 1 part": StoredChecksum("MD5", one_part, (0, 1000)),
    }


@pytest.mark.parametrize("piece_nbytes", [7, 256, 1 << 20])
@pytest.mark.parametrize("name", stored_checksums())
def test_checksum_of_the_bytes_agrees_and_of_others_differs(
    name: str, piece_nbytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_checksum, "_PIECE_NBYTES", piece_nbytes)
    stored = stored_checksums()[name]
    assert compare(CONTENT, stored) == f"the {name} is that of the store"
    for at in (0, 299, 300, 999):
        damaged = bytearray(CONTENT)
        damaged[at] ^= 1
        with pytest.raises(FormatError, match=f"has another {name} than its store"):
            compare(bytes(damaged), stored)


def test_what_cannot_be_compared_is_said() -> None:
    assert "tells none that can be computed" in compare(CONTENT, None)
    told = compare(CONTENT, StoreError("no access", reason="denied"))
    assert "not compared" in told
    assert "no access" in told


def test_replaced_object_is_not_compared() -> None:
    with pytest.raises(UnreadableError, match="has been replaced while it was read"):
        compare(CONTENT, StoreError("412", reason="changed"))
    store = Checked(CONTENT)
    store.stored = stored_checksums()["MD5"]
    with pytest.raises(UnreadableError, match="has been replaced while it was read"):
        compare_object(store, "another", jobs=1, progress=lambda nbytes: None)


def large(path: Path) -> Path:
    with streamh5.File(path, "x") as file:
        data = np.random.default_rng(0).integers(0, 256, (12, 1 << 20), "u1")
        file.create_dataset("x", data=data, chunks=(1, 1 << 20), compression=None)
    return path


@pytest.mark.parametrize(
    ("n_first", "expected"), [(None, "the MD5 is that"), (6 << 20, "the MD5 of 2 parts is that")]
)
@pytest.mark.parametrize("numbers", [(1, 2), (3, 7)])
def test_object_of_s3_agrees_with_its_entity_tag(
    n_first: int | None, expected: str, numbers: tuple[int, int], s3_server: S3Server, tmp_path: Path
) -> None:
    content = memoryview(large(tmp_path / "a.h5").read_bytes())
    url, options = s3_server.url(), s3_server.options()
    store = open_store(url, options)
    if n_first is None:
        store.put(content, token="", if_absent=True)
    else:
        upload = store.begin_upload("")
        parts = [
            store.send_part(upload, number, part)
            for number, part in zip(numbers, (content[:n_first], content[n_first:]), strict=True)
        ]
        store.complete(upload, parts, token="", if_absent=True)
    found = streamh5.verify(url, storage_options=options)
    assert found.ok
    if n_first is None or numbers == (1, 2):
        assert found.object_checksum is not None
        assert found.object_checksum.startswith(expected)


def test_object_that_is_not_what_was_uploaded_is_damaged(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url, options = s3_server.url(), s3_server.options()
    S3FileSystem(**options).put_file(str(large(tmp_path / "a.h5")), url)
    read = S3Store.read

    def flipped(self: S3Store, start: int, stop: int, version: str | None = None) -> bytes:
        content = bytearray(read(self, start, stop, version))
        content[-1] ^= 1  # in a chunk that no checksum of the file covers
        return bytes(content)

    monkeypatch.setattr(S3Store, "read", flipped)
    found = streamh5.verify(url, storage_options=options, with_h5py=False)
    assert found.damaged
    assert found.n_damaged_chunks == 0
    assert "has another MD5" in found.damaged_structures[0].problem
    assert found.damaged_structures[0].address == 0
    assert streamh5.verify(url, storage_options=options, with_h5py=False, checksum=False).ok
    given = [word for pair in options.items() for word in ("--storage-option", "=".join(pair))]
    assert main(["verify", url, "--no-h5py", *given]) == 1
    assert main(["verify", url, "--no-h5py", "--no-checksum", *given]) == 0
    assert "has another MD5" in capsys.readouterr().out


def test_report_of_a_store_without_checksums_says_so(tmp_path: Path) -> None:
    url = as_object(many_datasets(tmp_path / "a.h5"))
    found = streamh5.verify(url)
    assert found.ok
    assert "tells none that can be computed" in repr(found)
    asked: list[dict[str, Any]] = [{"data": False}, {"checksum": False}]
    assert all(streamh5.verify(url, **one).object_checksum is None for one in asked)


def test_crc_is_computed_as_its_published_example() -> None:
    pytest.importorskip("google_crc32c")
    digest = ALGORITHMS["CRC-32C"]()
    digest.update(b"12345")
    digest.update(b"6789")
    assert digest.digest().hex() == "e3069283"  # RFC 3720 and the catalogue of CRC algorithms


@pytest.mark.parametrize(("kind", "expected"), [("gcs", "CRC-32C"), ("azurite", "MD5")])
def test_object_of_other_stores_is_compared(
    kind: str, expected: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: Any = request.getfixturevalue(kind)
    with streamh5.File(tmp_path / "a.h5", "x") as file:
        file.create_dataset("x", data=np.arange(5000), chunks=(500,))
    content = (tmp_path / "a.h5").read_bytes()
    url, options = server.url(), server.options()
    open_store(url, options).put(memoryview(content), token="", if_absent=True)
    found = streamh5.verify(url, storage_options=options)
    assert found.ok
    assert found.object_checksum == f"the {expected} is that of the store"
