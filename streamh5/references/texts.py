"""Strings of variable length, which go into the references: in the file they lie in HDF5's heap."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numcodecs.vlen import VLenUTF8

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["encode_texts", "is_text", "read_texts", "too_many_texts"]

MAX_TEXT_ELEMENTS = 1 << 20
"""Strings of a dataset that are put into the references; more belong into a file of their own."""


def is_text(dtype: np.dtype[Any]) -> bool:
    """Whether elements are strings of variable length."""
    metadata: Mapping[str, Any] = dtype.metadata or {}
    return dtype.kind == "O" and metadata.get("vlen") in (str, bytes)


def too_many_texts(shape: tuple[int, ...] | None) -> str | None:
    """Say why the strings of a dataset of this shape are not put into references; None where they are."""
    n_elements = math.prod(shape or ())
    if n_elements <= MAX_TEXT_ELEMENTS:
        return None
    return (
        f"{n_elements:,} strings of variable length, which lie in HDF5's heap; up to {MAX_TEXT_ELEMENTS:,} are put "
        "into the references: store strings of fixed length instead"
    )


def encode_texts(texts: Any) -> bytes:
    """Encode strings as numcodecs stores them.

    Raises
    ------
    TypeError, UnicodeEncodeError
        Not all are str that UTF-8 can hold.
    """
    encoded: bytes = bytes(VLenUTF8().encode(np.ascontiguousarray(texts, object).reshape(-1)))
    return encoded


def read_texts(path: str, dataset: str) -> np.ndarray[Any, Any]:
    """Read a dataset of strings of a file that is trusted, as str."""
    import h5py

    with h5py.File(path, "r") as file:
        return np.asarray(file[dataset].asstr()[()], object)
