"""h5py as the judge: it makes the dataset, takes our bytes as they are, and reads them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import pytest

from streamh5.filters import EncodedRows, FilterChain, chain_from_keywords


@dataclass(frozen=True)
class Judged:
    """What h5py made of one batch, beside what we gave it."""

    values: np.ndarray[Any, Any]
    pipeline: list[tuple[int, int, tuple[int, ...], bytes]]
    chain: FilterChain
    encoded: EncodedRows


def judge(rows: np.ndarray[Any, Any], **keywords: Any) -> Judged:
    """Store ``(n_chunks, n_elements)`` through the chain and read it with h5py, a chunk a row."""
    rows = np.ascontiguousarray(rows)
    chain = chain_from_keywords(dtype=rows.dtype, chunk_nbytes=rows[0].nbytes, **keywords)
    encoded = chain.encode_rows(rows.view(np.uint8).reshape(len(rows), -1))
    masks = np.zeros(len(rows), np.uint32) if encoded.filter_masks is None else encoded.filter_masks
    file_bytes = io.BytesIO()
    with h5py.File(file_bytes, "w") as file:
        dataset = file.create_dataset("x", rows.shape, rows.dtype, chunks=(1, rows.shape[1]), **keywords)
        for index, buffer in enumerate(encoded.buffers):
            assert len(buffer) == encoded.stored_nbytes[index]
            dataset.id.write_direct_chunk((index, 0), bytes(buffer), int(masks[index]))
    # Closed in between: HDF5 2.0 remembers the mask that the last chunk had before a direct write.
    with h5py.File(file_bytes, "r") as file:
        dataset = file["x"]
        plist = dataset.id.get_create_plist()
        pipeline = [plist.get_filter(i) for i in range(plist.get_nfilters())]
        return Judged(dataset[()], pipeline, chain, encoded)


def described(judged: Judged) -> tuple[list[Any], list[Any]]:
    """Pipelines as (id, flags, client values): ours and h5py's."""
    ours = [(r.filter_id, int(r.flags), tuple(r.client_values)) for r in judged.chain.records]
    return ours, [(one[0], one[1], tuple(one[2])) for one in judged.pipeline]


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
