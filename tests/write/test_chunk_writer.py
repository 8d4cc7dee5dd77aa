"""A chunk writer goes to another process: it encodes there, and what it encoded is written here."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.filters import FilterChain, FilterOptions
from streamh5.handles.dataset_plan import plan_dataset
from streamh5.model.dataset_spec import DatasetSpec
from streamh5.write.chunk_writer import ChunkWriter, EncodedChunks
from tests.deadlock import DEADLOCK_SECONDS

MAX_PICKLED_NBYTES = 1000
"""What goes to a worker with each block must cost nothing beside it."""

ENCODE = """
import pickle, sys
writer, block, origin = pickle.load(sys.stdin.buffer)
pickle.dump([writer.encode(raw) for raw in writer.split(block, origin)], sys.stdout.buffer)
"""


def encoded_in_a_child(writer: ChunkWriter, block: Any, origin: tuple[int, ...]) -> list[EncodedChunks]:
    done = subprocess.run(
        [sys.executable, "-c", ENCODE],
        input=pickle.dumps((writer, block, origin)),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=DEADLOCK_SECONDS,
        check=True,
    )
    encoded: list[EncodedChunks] = pickle.loads(done.stdout)
    return encoded


KINDS: dict[str, dict[str, Any]] = {
    "gzip": {"filters": FilterOptions(compression="gzip", shuffle=True, fletcher32=True)},
    "no filters": {},
    "fill value": {"filters": FilterOptions(compression="gzip"), "fillvalue": 7},
    "records": {"filters": FilterOptions(compression="gzip"), "dtype": [("a", "i4"), ("b", "f8", (2,))]},
    "early": {"alloc_time": "early"},
}


def planned(kind: str) -> tuple[DatasetSpec, FilterChain]:
    keywords = {"dtype": "i8", **KINDS[kind]}
    return plan_dataset("/x", shape=(50, 9), chunks=(8, 4), **keywords)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_that_another_process_encoded_are_read_by_h5py(kind: str, tmp_path: Path) -> None:
    spec, chain = planned(kind)
    expected = np.arange(50 * 9).reshape(50, 9).astype(spec.dtype)
    with streamh5.File(tmp_path / "out.h5") as file:
        dataset = file.add_dataset(spec, chain)
        for start in (24, 0):
            stop = start + 24 if start == 0 else 50
            for encoded in encoded_in_a_child(ChunkWriter(spec, chain), expected[start:stop], (start, 0)):
                dataset.record(dataset.write_encoded(encoded))
    with h5py.File(tmp_path / "out.h5") as read:
        assert (read["x"][...] == expected).all()


@pytest.mark.parametrize("kind", KINDS)
def test_chunk_writer_is_pickled_small(kind: str) -> None:
    spec, chain = planned(kind)
    assert len(pickle.dumps(ChunkWriter(spec, chain, 4096))) < MAX_PICKLED_NBYTES
    again = pickle.loads(pickle.dumps(ChunkWriter(spec, chain, 4096)))
    assert (again.spec.path, again.chain, again.region_address) == ("/x", chain, 4096)


def test_fill_value_in_the_global_heap_needs_a_place() -> None:
    text = h5py.string_dtype()
    spec, chain = plan_dataset("/x", shape=(5,), chunks=(4,), dtype=text, fillvalue="none")
    writer = ChunkWriter(spec, chain)
    with pytest.raises(TypeError, match="needs a place"):
        list(writer.split(np.zeros(5, spec.stored_dtype), (0,)))
