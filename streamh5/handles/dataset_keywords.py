"""The keywords of `Group.create_dataset`, for type checkers of functions that pass them on."""

from __future__ import annotations

from typing import Any, TypedDict


class OtherKeywords(TypedDict, total=False):
    """Keywords of `Group.create_dataset` apart from shape and dtype; a test compares them with its signature."""

    data: Any
    chunks: Any
    maxshape: Any
    compression: Any
    compression_opts: Any
    shuffle: bool | None
    fletcher32: bool | None
    scaleoffset: int | bool | None
    fillvalue: Any
    track_order: bool | None
    track_times: bool | None
    write_empty_chunks: bool
    alloc_time: str | None
    allow_unknown_filter: bool | None


class DatasetKeywords(OtherKeywords, total=False):
    """All keywords of `Group.create_dataset`."""

    shape: Any
    dtype: Any
