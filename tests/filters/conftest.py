"""h5py as the judge: it makes the dataset, takes our bytes as they are, and reads them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import pytest

from streamh5.filters import EncodedRows, FilterChain, FilterOptions


@dataclass(frozen=True)
class Judged:
    """What h5py made of one batch, beside what we gave it."""

    values: np.ndarray[Any, Any]
    pipeline: list[tuple[int, int, tuple[int, ...], bytes]]
    chain: FilterChain
    encoded: EncodedRows


def judge(rows: np.ndarray[Any, Any], **keywords: Any) -> Judged:
    """Store ``(n_chunks, *chunk)`` through the chain and read it with h5py."""
    rows = np.ascontiguousarray(rows)
    chunks = rows.shape[1:]
    # The first dimension counts chunks; a chunk of one dimension must be one to h5py as well.
    shape = (len(rows) * chunks[0], *chunks[1:])
    chain = FilterOptions(**keywords).chain(rows.dtype, rows[0].nbytes, chunks=chunks)
    encoded = chain.encode_rows(np.frombuffer(rows.tobytes(), np.uint8).reshape(len(rows), -1))
    masks = np.zeros(len(rows), np.uint32) if encoded.filter_masks is None else encoded.filter_masks
    file_bytes = io.BytesIO()
    with h5py.File(file_bytes, "w") as file:
        dataset = file.create_dataset("x", shape, rows.dtype, chunks=chunks, **keywords)
        for index, buffer in enumerate(encoded.buffers):
            at = (index * chunks[0], *(0,) * (len(chunks) - 1))
            dataset.id.write_direct_chunk(at, bytes(buffer), int(masks[index]))
    # Closed in between: HDF5 2.0 remembers the mask that the last chunk had before a direct write.
    with h5py.File(file_bytes, "r") as file:
        dataset = file["x"]
        plist = dataset.id.get_create_plist()
        pipeline = [plist.get_filter(i) for i in range(plist.get_nfilters())]
        return Judged(dataset[()].reshape(rows.shape), pipeline, chain, encoded)


def described(judged: Judged) -> tuple[list[Any], list[Any]]:
    """Pipelines as (id, flags, client values, name): ours and h5py's."""
    ours = [(r.filter_id, int(r.flags), tuple(r.client_values), r.name) for r in judged.chain.records]
    return ours, [(one[0], one[1], tuple(one[2]), one[3].decode()) for one in judged.pipeline]


@pytest.fixture
def check() -> Callable[..., Judged]:
    """Store rows, assert that h5py reads the same bytes and describes the same pipeline."""

    def run(rows: np.ndarray[Any, Any], **keywords: Any) -> Judged:
        judged = judge(rows, **keywords)
        assert judged.values.tobytes() == np.ascontiguousarray(rows).tobytes()
        ours, theirs = described(judged)
        assert ours == theirs
        return judged

    return run
