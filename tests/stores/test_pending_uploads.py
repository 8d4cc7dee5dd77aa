"""Uploads that nobody completes are listed and removed: by `streamh5.abort_upload`, and from the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

import streamh5
from streamh5.cli import main as cli
from streamh5.errors import MissingCodecError, SinkError, SpecError, StoreError
from streamh5.stores import attempts, pending_uploads
from streamh5.stores.base import ObjectStore
from streamh5.stores.memory import MemoryStore
from streamh5.stores.open_store import open_store
from tests.stores.servers import KEY, SECRET, S3Server


def left(store: ObjectStore) -> list[str]:
    """Leave two uploads, one of them without parts, and an object."""
    store.put(memoryview(b"object"), token="token", if_absent=False)
    uploads = [store.begin_upload("token") for _ in range(2)]
    store.send_part(uploads[0], 1, memoryview(b"part"))
    return uploads


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_uploads_are_removed_and_the_object_stays(kind: str, request: pytest.FixtureRequest) -> None:
    options, url = {}, "memory://pending/object.h5"
    if kind == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        options, url = server.options(), server.url()
    store, other = open_store(url, options), open_store(f"{url}.json", options)
    uploads, of_other = left(store), other.begin_upload("token")
    assert sorted(streamh5.abort_upload(url, options)) == sorted(uploads)
    assert store.list_uploads() == []
    assert store.read(0, 9) == b"object"
    assert [one.upload for one in other.list_uploads()] == [of_other]
    assert streamh5.abort_upload(url, storage_options=options) == []
    other.abort_upload(of_other)


def test_command_lists_and_removes(s3_server: S3Server, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(s3_server.url(), s3_server.options())
    uploads = left(store)
    endpoint = s3_server.options()["endpoint_url"]
    command = ["abort-upload", store.url]
    command += ["--storage-option", f"key={KEY}", "--storage-option", f"secret={SECRET}"]
    command += ["--storage-option", "client_kwargs=" + json.dumps({"endpoint_url": endpoint})]
    assert cli.main([*command, "--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    found = [re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:+]+  (\S+)", line) for line in listed]
    assert sorted(one[1] for one in found if one) == sorted(uploads)
    assert len(store.list_uploads()) == 2
    assert cli.main(command) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(uploads)
    assert store.list_uploads() == []
    assert cli.main(command) == 0
    assert capsys.readouterr().out == ""


def test_upload_that_stays_is_an_error_and_the_others_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "ATTEMPTS", attempts.Attempts(3, 0.0, 0.0))
    store = open_store("memory://pending/refused.h5")
    uploads = left(store)
    abort: Callable[[MemoryStore, str], None] = MemoryStore.abort_upload

    def refuse(self: MemoryStore, upload: str) -> None:
        if upload == uploads[0]:
            raise StoreError("AccessDenied: not this one", reason="denied")
        abort(self, upload)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryStore, "abort_upload", refuse)
        with pytest.raises(
            SinkError, match=r"^1 of 2 uploads of memory:.* may be left: AccessDenied"
        ) as caught:
            streamh5.abort_upload(store.url)
    assert caught.value.facts["upload"] == uploads[0]
    assert [one.upload for one in store.list_uploads()] == uploads[:1]
    assert streamh5.abort_upload(store.url) == uploads[:1]


def test_store_that_does_not_answer_is_asked_again_and_then_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(attempts, "ATTEMPTS", attempts.Attempts(3, 0.0, 0.0))
    asked = []

    def fail(self: MemoryStore) -> None:
        asked.append(1)
        raise StoreError("SlowDown: later", reason="transient")

    monkeypatch.setattr(MemoryStore, "list_uploads", fail)
    assert cli.main(["abort-upload", "memory://pending/busy.h5", "--list"]) == 2
    assert len(asked) == 3
    assert "cannot be listed: SlowDown: later" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["/local/file.h5", "http://host/file.h5", "s3://bucket"])
def test_what_is_no_object_is_refused(url: str) -> None:
    with pytest.raises((SpecError, MissingCodecError)):
        pending_uploads.abort_upload(url)
