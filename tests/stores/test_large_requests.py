"""Large requests: aiohttp warns of more than 1 MiB in one piece, and warnings are errors here."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from streamh5.stores.base import PartReceipt
from streamh5.stores.open_store import open_store
from tests.stores import gcs_mock

MIB = 1 << 20


@pytest.fixture(params=["s3_server", "azurite", "gcs"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "azurite":
        pytest.importorskip("adlfs")
    monkeypatch.setattr(gcs_mock, "MIN_PART", 1)
    server = request.getfixturevalue(request.param)
    return open_store(server.url(), server.options())


@pytest.mark.parametrize("nbytes", [MIB, MIB + 1, 3 * MIB, 20 * MIB])
@pytest.mark.parametrize("is_part", [False, True], ids=["put", "part"])
def test_content_is_sent_without_a_warning(store: Any, nbytes: int, is_part: bool) -> None:
    content = np.random.default_rng(nbytes).bytes(nbytes)
    with warnings.catch_warnings(record=True, action="always") as found:
        if is_part:
            upload = store.begin_upload("token")
            receipt = store.send_part(upload, 1, memoryview(content))
            store.complete(upload, [receipt], token="token", if_absent=True)
        else:
            store.put(memoryview(content), token="token", if_absent=True)
    assert [
        one for one in found if issubclass(one.category, ResourceWarning) and "body" in str(one.message)
    ] == []
    assert store.read(0, nbytes) == content


def test_list_of_many_blocks_is_sent_without_a_warning(request: pytest.FixtureRequest) -> None:
    pytest.importorskip("adlfs")
    server = request.getfixturevalue("azurite")
    store = open_store(server.url(), server.options())
    upload = store.begin_upload("token")
    one = store.send_part(upload, 1, memoryview(b"a"))
    parts = [PartReceipt(number, one.etag, 1) for number in range(1, 20_001)]  # one block, many times
    with warnings.catch_warnings(record=True, action="always") as found:
        store.complete(upload, parts, token="token", if_absent=True)
    assert [one for one in found if "body" in str(one.message)] == []
    head = store.head()
    assert head is not None
    assert head.nbytes == len(parts)
