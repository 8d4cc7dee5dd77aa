"""From the tree of a written file to its `WriteSummary`."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from streamh5.engine.index_choice import choose_index
from streamh5.errors import FormatError
from streamh5.format.datatype import decode_datatype, encode_datatype
from streamh5.format.datatype_class import EncodedDatatype, datatype_name
from streamh5.format.primitives import N_CACHED
from streamh5.model.tree import DatasetNode, GroupNode, walk
from streamh5.write.summary import DatasetSummary, SharedFigures, WriteSummary

if TYPE_CHECKING:
    from streamh5.model.tree import Node


def summarize(
    path: str,
    root: GroupNode,
    *,
    file_nbytes: int,
    seconds: float,
    shared: SharedFigures | None,
    unused_nbytes: int,
) -> WriteSummary:
    """Summarize a written file from its tree; `unused_nbytes` are those apart from chunks that were replaced."""
    nodes = list(walk(root))
    datasets = tuple(_summarize(node) for node in nodes if isinstance(node, DatasetNode) and node.is_written)
    tree = None if any(_was_read(node) for node in nodes) else root
    replaced = sum(
        node.table.counts.dead_nbytes for node in nodes if isinstance(node, DatasetNode) and node.is_written
    )
    return WriteSummary(path, datasets, file_nbytes, seconds, tree, shared, unused_nbytes + replaced)


def _was_read(node: Node) -> bool:
    """Return whether an object was read from an existing file, so that the tree does not describe all of it."""
    return isinstance(node, DatasetNode) and node.stored is not None


def _summarize(node: DatasetNode) -> DatasetSummary:
    spec = node.spec
    nbytes = 0 if node.shape is None else math.prod(node.shape) * spec.dtype.itemsize
    index = (
        choose_index(spec, node.n_numbers, node.table.counts.n_written).value
        if spec.chunks is not None
        else None
    )
    return DatasetSummary(
        path=spec.path,
        shape=node.shape,
        dtype=spec.dtype,
        datatype=_datatype_name(encode_datatype(spec.file_datatype)),
        chunks=spec.chunks,
        index=index,
        n_chunks=node.n_chunks,
        n_missing=node.n_chunks - node.table.counts.n_written if index else 0,
        n_empty=node.n_empty,
        n_rewritten=node.table.counts.n_rewritten,
        nbytes=nbytes,
        stored_nbytes=node.table.counts.stored_nbytes
        if index
        else 0
        if node.value is None
        else node.value.nbytes,
    )


@lru_cache(N_CACHED)
def _datatype_name(body: bytes) -> str:
    """Return the name of an encoded datatype, even if another program encoded it."""
    try:
        return datatype_name(decode_datatype(body))
    except FormatError:
        return datatype_name(EncodedDatatype(body))
