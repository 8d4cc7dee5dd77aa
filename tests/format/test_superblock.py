from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import pytest

from streamh5.format.superblock import SIZEOF_SUPERBLOCK, Superblock, encode_superblock


@pytest.mark.parametrize(("libver", "version"), [("latest", 3), (("v108", "v108"), 2)])
def test_superblock_same_fields_equals_libhdf5(tmp_path: Path, libver: Any, version: int) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file["x"] = 1
    content = path.read_bytes()
    base, extension, end, root = struct.unpack_from("<4Q", content, 12)
    superblock = Superblock(end, root, base, extension, version)
    assert encode_superblock(superblock) == content[:SIZEOF_SUPERBLOCK]


def test_superblock_of_handmade_sample_known_checksum() -> None:
    # A 689-byte file that HDF5 1.10 to 2.2 read; made by an independent writer.
    assert encode_superblock(Superblock(0x2B1, 0x27A))[-4:] == bytes.fromhex("2d80c7d7")


@pytest.mark.parametrize("user_block", [512, 2048])
def test_superblock_behind_user_block_read_by_h5py(one_value_dataset: Any, user_block: int) -> None:
    builder = one_value_dataset()
    path = builder.write()
    content = bytearray(path.read_bytes())
    root = struct.unpack_from("<Q", content, 36)[0]
    content[:48] = encode_superblock(Superblock(user_block + len(content), root, user_block))
    path.write_bytes(b"#!/bin/sh\n".ljust(user_block) + content)
    with h5py.File(path) as file:
        assert file.userblock_size == user_block
        assert file["x"][()] == 7
