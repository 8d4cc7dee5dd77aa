"""Whole files in Ceph, whose gateway verifies checksums and sizes of parts."""

from __future__ import annotations

import hashlib

import h5py
import numpy as np
import pytest
import s3fs

import streamh5
from streamh5.errors import StoreError
from streamh5.stores import s3
from streamh5.stores.open_store import open_store
from tests.stores.servers import S3Server

pytestmark = pytest.mark.campaign

VALUES = np.random.default_rng(0).integers(0, 2**31, (12, 1 << 20), dtype="i4")
"""48 MiB that do not compress: four parts."""


def test_file_of_many_parts_is_what_h5py_reads(radosgw: S3Server) -> None:
    url = radosgw.url()
    with streamh5.File(url, "w", storage_options=radosgw.options()) as file:
        file.create_dataset("x", VALUES.shape, VALUES.dtype, chunks=(1, 1 << 18))[...] = VALUES
    system = s3fs.S3FileSystem(**radosgw.options())
    assert system.info(url)["ETag"].strip('"').endswith("-4")  # of an object of four parts
    with system.open(url) as opened, h5py.File(opened) as read:
        np.testing.assert_array_equal(read["x"][...], VALUES)


def test_write_that_is_dropped_leaves_the_old_object_and_no_upload(radosgw: S3Server) -> None:
    url, options = radosgw.url(), radosgw.options()
    store = open_store(url, options)
    store.put(memoryview(b"old"), token="old", if_absent=True)
    file = streamh5.File(url, "w", storage_options=options)
    file.create_dataset("x", VALUES.shape, VALUES.dtype, chunks=(1, 1 << 18))[...] = VALUES
    assert len(store.list_uploads()) == 1
    file.abort()
    assert store.list_uploads() == []
    assert store.read(0, 10) == b"old"


def test_part_that_was_damaged_on_its_way_is_refused(
    radosgw: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(radosgw.url(), radosgw.options())
    upload = store.begin_upload("token")
    monkeypatch.setattr(s3, "_md5", lambda content: hashlib.md5(b"other", usedforsecurity=False).digest())
    with pytest.raises(StoreError, match="BadDigest") as caught:
        store.send_part(upload, 1, memoryview(b"content"))
    assert caught.value.reason == "transient"
    store.abort_upload(upload)
