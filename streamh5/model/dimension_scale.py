"""Dimension scales: the attributes that mark them, and that tie them to the dimensions of a dataset.

They are those of HDF5's high-level library (``H5DS.c``), which h5py and netCDF-C use:

================  ==========  ===================================================================
attribute         object      content
================  ==========  ===================================================================
CLASS             scale       the text ``DIMENSION_SCALE``
NAME              scale       its name, which may be empty
REFERENCE_LIST    scale       which datasets use it, and for which dimension
DIMENSION_LIST    dataset     for each dimension, references to its scales
DIMENSION_LABELS  dataset     for each dimension, a label
================  ==========  ===================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import AttributeValueError
from streamh5.format.character_set import CharacterSet, decode_text, encode_text
from streamh5.format.datatype import datatype_class, decode_datatype
from streamh5.format.datatype_class import (
    Compound,
    CompoundMember,
    EncodedDatatype,
    FixedLengthString,
    FixedPoint,
    ObjectReferenceClass,
    StringPadding,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.global_heap import SIZEOF_VARIABLE_LENGTH_ELEMENT
from streamh5.model.attribute_spec import AttributeSpec, text_attribute
from streamh5.model.reference import SIZEOF_REFERENCE, HeapObject, sizeof_part, sizeof_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamh5.format.datatype_class import DatatypeClass
    from streamh5.model.reference import Part, Parts, Reference

SCALE_CLASS = "DIMENSION_SCALE"
"""Attribute CLASS of a scale (H5DS)."""

WITHOUT_VARIABLE = "This is a netCDF dimension but not a netCDF variable."
"""``DIM_WITHOUT_VARIABLE`` of netCDF-C: attribute NAME of a scale without a variable, followed by its length."""

NOT_A_COORDINATE = "_nc4_non_coord_"
"""``NON_COORD_PREPEND`` of netCDF-C: precedes the link name of a variable whose own name is taken by a dimension."""

_USE = Compound(
    16,
    (
        CompoundMember("dataset", 0, ObjectReferenceClass()),
        CompoundMember("dimension", 8, FixedPoint(4, signed=False)),
    ),
)
"""Element of REFERENCE_LIST (``ds_list_t`` of H5DS), with four bytes of padding at its end."""


def scale_class() -> AttributeSpec:
    """Plan the attribute CLASS, by which readers recognize a scale."""
    return text_attribute("CLASS", SCALE_CLASS.encode() + b"\0")


def scale_name(name: str) -> AttributeSpec:
    """Plan the attribute NAME of a scale."""
    return text_attribute("NAME", encode_text(name) + b"\0")


def reference_list(uses: Sequence[tuple[Part, int]]) -> AttributeSpec:
    """Plan the REFERENCE_LIST of a scale: a reference to each dataset that uses it, and the number of the dimension."""
    parts: list[Part] = []
    for dataset, axis in uses:
        parts += [dataset, axis.to_bytes(4, "little") + bytes(4)]
    return AttributeSpec("REFERENCE_LIST", _USE, (len(uses),), tuple(parts))


def dimension_list(scales: Sequence[Sequence[Reference]]) -> AttributeSpec:
    """Plan the DIMENSION_LIST of a dataset: references to the scales of each dimension."""
    elements = [HeapObject(len(each), tuple(each)) for each in scales]
    datatype = VariableLengthSequence(ObjectReferenceClass())
    value = [list(each) for each in scales]
    return AttributeSpec("DIMENSION_LIST", datatype, (len(scales),), elements, value=value)


def dimension_labels(labels: Sequence[str]) -> AttributeSpec:
    """Plan the DIMENSION_LABELS of a dataset; an empty label is null, as where none was set."""
    texts = [label.encode() for label in labels]
    elements = [HeapObject(len(text), (text,) if text else ()) for text in texts]
    datatype = VariableLengthString(CharacterSet.ASCII)  # ``H5T_C_S1``, although h5py stores UTF-8 in it
    return AttributeSpec("DIMENSION_LABELS", datatype, (len(labels),), elements, value=list(labels))


def is_scale_class(attribute: AttributeSpec) -> bool:
    """Return whether an attribute CLASS is that of a scale, with the rules of ``H5DSis_scale``."""
    expected = FixedLengthString(len(SCALE_CLASS) + 1, padding=StringPadding.NULL_TERMINATE)
    found = _datatype(attribute)
    return (
        isinstance(found, FixedLengthString)
        and (found.nbytes, found.padding) == (expected.nbytes, expected.padding)
        and _text(attribute.data) == SCALE_CLASS
    )


def name_of_scale(attribute: AttributeSpec | None) -> str:
    """Return the name in an attribute NAME; empty if there is none."""
    return "" if attribute is None else _text(attribute.data)


def uses_of_scale(attribute: AttributeSpec | None) -> list[tuple[Part, int]]:
    """Return what a REFERENCE_LIST contains: the parts that refer to datasets, and the numbers of dimensions.

    Raises
    ------
    AttributeValueError
        It is not a list of references and integers.
    """
    if attribute is None:
        return []
    record = _datatype(attribute)
    members = record.members if isinstance(record, Compound) else ()
    kinds = [type(member.datatype) for member in members]
    if kinds != [ObjectReferenceClass, FixedPoint] or members[0].position != 0:
        raise _unknown(attribute)
    number, start = members[1].datatype, members[1].position - SIZEOF_REFERENCE
    pieces = _cut(attribute.data, (SIZEOF_REFERENCE, record.nbytes - SIZEOF_REFERENCE))
    uses: list[tuple[Part, int]] = []
    for reference, rest in zip(pieces[::2], pieces[1::2], strict=True):
        if not isinstance(number, FixedPoint) or not isinstance(rest, bytes):
            raise _unknown(attribute)
        uses.append((reference, int.from_bytes(rest[start : start + number.nbytes], number.byteorder)))
    return uses


def scales_of_dimensions(attribute: AttributeSpec | None, rank: int) -> list[list[Part]]:
    """Return what a DIMENSION_LIST contains: for each dimension, the parts that refer to its scales.

    Raises
    ------
    AttributeValueError
        It is not a list of references for each dimension.
    """
    if attribute is None:
        return [[] for _ in range(rank)]
    elements: list[list[Part]] = []
    for part in attribute.data:
        if isinstance(part, HeapObject):
            elements.append(_cut(part.parts, (SIZEOF_REFERENCE,)))
        else:  # elements without an object in the heap are null
            n_null = sizeof_part(part) // SIZEOF_VARIABLE_LENGTH_ELEMENT
            elements += [[] for _ in range(n_null)]
    if len(elements) != rank or sizeof_parts(attribute.data) != rank * SIZEOF_VARIABLE_LENGTH_ELEMENT:
        raise _unknown(attribute)
    return elements


def labels_of_dimensions(attribute: AttributeSpec | None, rank: int) -> list[str]:
    """Return what a DIMENSION_LABELS contains: a label for each dimension, which may be empty.

    Raises
    ------
    AttributeValueError
        It is not a list of texts of variable length.
    """
    if attribute is None:
        return [""] * rank
    labels = [
        decode_text(one) for one in np.ravel(attribute.content).tolist() if isinstance(one, (str, bytes))
    ]
    if len(labels) != rank:
        raise _unknown(attribute)
    return labels


def _datatype(attribute: AttributeSpec) -> DatatypeClass:
    found = datatype_class(attribute.datatype)
    return decode_datatype(found.message) if isinstance(found, EncodedDatatype) else found


def _text(parts: Parts) -> str:
    """Return the text up to its first NUL."""
    data = b"".join(part for part in parts if isinstance(part, bytes))
    return decode_text(data.partition(b"\0")[0])


def _cut(parts: Parts, sizes: tuple[int, ...]) -> list[Part]:
    """Cut the bytes among `parts` into pieces of `sizes`, over and over; each other part is one piece."""
    pieces: list[Part] = []
    for part in parts:
        if not isinstance(part, bytes):
            pieces.append(part)
            continue
        position = 0
        while position < len(part):
            nbytes = sizes[len(pieces) % len(sizes)]
            pieces.append(part[position : position + nbytes])
            position += nbytes
    return pieces


def _unknown(attribute: AttributeSpec) -> AttributeValueError:
    return AttributeValueError(
        f"attribute {attribute.name} has another type or shape than HDF5's dimension scales give it; delete it first",
        name=attribute.name,
    )
