"""The handles of datasets of an existing file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.filters.base import RawChunk
from streamh5.filters.chain import restored_chain
from streamh5.handles.dataset import Dataset

if TYPE_CHECKING:
    from streamh5.handles.session import Session
    from streamh5.model.tree import DatasetNode


def stored_dataset(session: Session, node: DatasetNode) -> Dataset:
    """Return the handle of a dataset of the existing file."""
    n_public = node.n_rows
    session.open_dataset(node)
    spec = node.spec
    raw = RawChunk(
        spec.stored_dtype,
        spec.chunks or (1,),
        spec.chunk_nbytes,
        None if spec.fillvalue is None or spec.is_encoded else spec.fillvalue[()],
    )
    chain = restored_chain(spec.filters, raw)
    return Dataset(session, node, chain, n_rows=node.n_rows, is_restored=node.n_rows > n_public)
