"""What a lost worker wrote is believed only if every byte of it has a checksum that is right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5

pytest.importorskip("distributed")

from streamh5.dask.cluster import is_intact

TEXTS = np.array(["a", "bé", "", "long " * 50], object)


@pytest.mark.parametrize(
    ("dtype", "block", "expected"),
    [("f8", np.arange(4.0), True), (h5py.string_dtype(), TEXTS, False)],
    ids=["numbers", "text, which lies outside its chunks"],
)
def test_chunks_are_intact_if_everything_that_was_written_has_a_checksum(
    dtype: Any, block: Any, expected: bool, tmp_path: Path
) -> None:
    with streamh5.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", (4,), dtype, chunks=(2,), compression="gzip")
        part = dataset.part_writer().write(block, (0,))
        with open(tmp_path / "x.h5.partial", "r+b") as written:
            assert is_intact(written.fileno(), part) is expected
            place = int(part.records["address"][-1])
            before = os.pread(written.fileno(), 1, place)
            os.pwrite(written.fileno(), bytes([before[0] ^ 1]), place)
            assert not is_intact(written.fileno(), part)
            os.pwrite(written.fileno(), before, place)
        dataset.record_part(part)
    with h5py.File(tmp_path / "x.h5") as found:
        values = found["x"].asstr()[...] if block is TEXTS else found["x"][...]
        assert values.tolist() == block.tolist()
