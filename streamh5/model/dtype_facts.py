"""Convert dtypes to JSON and back, with h5py's metadata for text, sequences and enumerations."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamh5.model.reference import Reference, RegionReference

_MARKED_TYPES: dict[str, type] = {
    "str": str,
    "bytes": bytes,
    "Reference": Reference,
    "RegionReference": RegionReference,
}


def dtype_facts(dtype: np.dtype[Any]) -> Any:
    """Describe a dtype by its typestring, or by a dictionary if that is not enough."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return {"base": dtype_facts(base), "shape": list(shape)}
    if dtype.names is not None and dtype.fields is not None:
        fields = [[name, dtype_facts(dtype.fields[name][0]), dtype.fields[name][1]] for name in dtype.names]
        return {"fields": fields, "itemsize": dtype.itemsize}
    if dtype.kind == "T":
        return {"text": True}
    if dtype.kind == "V" and dtype.name == "bfloat16":
        return {"bfloat16": True}
    if not dtype.metadata:
        return dtype.str
    marks = {}
    for key, mark in dtype.metadata.items():
        if isinstance(mark, type):
            marks[key] = {"type": mark.__name__}
        elif isinstance(mark, np.dtype):
            marks[key] = {"dtype": dtype_facts(mark)}
        else:
            marks[key] = {"value": mark}
    return {"str": dtype.str, "marks": marks}


def dtype_from_facts(facts: Any) -> np.dtype[Any]:
    """Return the dtype that `dtype_facts` described.

    Raises
    ------
    TypeError, ValueError, KeyError
        `facts` does not describe a dtype.
    """
    if isinstance(facts, str):
        return np.dtype(facts)
    if "text" in facts:
        return np.dtypes.StringDType()
    if "bfloat16" in facts:
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    if "base" in facts:
        return np.dtype((dtype_from_facts(facts["base"]), tuple(facts["shape"])))
    if "fields" in facts:
        names, formats, offsets = zip(*facts["fields"], strict=True)
        return np.dtype(
            {
                "names": list(names),
                "formats": [dtype_from_facts(one) for one in formats],
                "offsets": list(offsets),
                "itemsize": facts["itemsize"],
            }
        )
    marks: dict[str, Any] = {}
    for key, mark in facts["marks"].items():
        if "type" in mark:
            marks[key] = _MARKED_TYPES[mark["type"]]
        else:
            marks[key] = dtype_from_facts(mark["dtype"]) if "dtype" in mark else mark["value"]
    marked: np.dtype[Any] = np.dtype(facts["str"], metadata=marks)
    return marked
