"""Datatype bodies, decoded by libhdf5 (H5Tdecode) and compared with the type h5py makes (H5Tequal)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis.extra import numpy as st_np

from streamh5.errors import DatatypeError, LimitError
from streamh5.format.character_set import CharacterSet
from streamh5.format.datatype import encode_datatype, sizeof_element
from streamh5.format.datatype_class import (
    Array,
    Complex,
    Compound,
    CompoundMember,
    Enumeration,
    FixedLengthString,
    FixedPoint,
    FloatingPoint,
    ObjectReferenceClass,
    Opaque,
    RegionReferenceClass,
    StringPadding,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.object_header import MessageType


def _decoded(body: bytes) -> h5py.h5t.TypeID:
    return h5py.h5t.decode(b"\x03\x00" + body)  # H5Tencode's message type and version


def _of_h5py(dtype: Any) -> h5py.h5t.TypeID:
    return h5py.h5t.py_create(np.dtype(dtype), logical=True)


_ATOMS = ["?", *(order + kind for order in "<>" for kind in ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])]
_ATOMS += [order + kind for order in "<>" for kind in ["f2", "f4", "f8", "c8", "c16"]]
_ATOMS += ["S1", "S300", "V1", "V17", "longdouble", "clongdouble"]
_MARKED = [
    h5py.string_dtype(),
    h5py.string_dtype("ascii"),
    h5py.string_dtype("utf-8", 9),
    h5py.string_dtype("ascii", 9),
    h5py.vlen_dtype(np.dtype(">i4")),
    h5py.vlen_dtype(np.dtype([("a", "i4"), ("b", "f8")])),
    h5py.vlen_dtype(h5py.vlen_dtype(np.dtype("f4"))),
    h5py.enum_dtype({"RED": 0, "GREEN": 300, "BLUE": -2}, basetype=">i2"),
    h5py.ref_dtype,
    h5py.regionref_dtype,
    h5py.opaque_dtype(np.dtype("<M8[ns]")),
    h5py.opaque_dtype(np.dtype(">m8[3D]")),
]
_COMPOUND = [
    np.dtype([("a", "i1"), ("b", ">f8")]),
    np.dtype([("a", "i1"), ("b", "f8")], align=True),
    np.dtype({"names": ["late", "early"], "formats": ["i4", "u2"], "offsets": [300, 2], "itemsize": 400}),
    np.dtype([("m", "f4", (2, 3)), ("ü", [("z", "c16"), ("flag", "?", 4)])]),
    np.dtype(("i4", (2, 3))),
    np.dtype([("inner", [("inner", [("x", "S3")], (2,))])]),
]


@pytest.mark.parametrize("dtype", [*_ATOMS, *_MARKED, *_COMPOUND], ids=str)
def test_datatype_of_dtype_equals_h5py(dtype: Any) -> None:
    decoded = _decoded(encode_datatype(np.dtype(dtype)))
    assert decoded.equal(_of_h5py(dtype))


@pytest.mark.parametrize("dtype", [*_ATOMS, *_COMPOUND[:4]], ids=str)
def test_sizeof_element_of_plain_dtype_equals_numpy(dtype: Any) -> None:
    assert sizeof_element(np.dtype(dtype)) == np.dtype(dtype).itemsize


@pytest.mark.parametrize(
    "dtype",
    [
        *_MARKED,
        np.dtype([("s", h5py.string_dtype()), ("r", h5py.ref_dtype), ("e", h5py.enum_dtype({"A": 1}))]),
        np.dtype({"names": ["s", "late"], "formats": [h5py.string_dtype(), "i4"], "offsets": [4, 20]}),
        np.dtype(
            [("a", [("s", h5py.vlen_dtype(np.dtype("i2")), (3,)), ("t", "i1")]), ("r", h5py.regionref_dtype)]
        ),
    ],
    ids=str,
)
def test_datatype_of_marked_dtype_equals_file_datatype(
    library_messages: Callable[..., dict[int, list[tuple[int, bytes]]]], dtype: Any
) -> None:
    def write(file: h5py.File) -> None:
        file.create_dataset("x", (2,), dtype)

    ((_, theirs),) = library_messages(write, libver=("v108", "v108"))[MessageType.DATATYPE]
    assert encode_datatype(dtype) == theirs


@pytest.mark.parametrize("dtype", ["M8[us]", "m8[h]", ">M8[D]"])
def test_datatype_of_unmarked_time_equals_h5py_opaque(dtype: str) -> None:
    expected = _of_h5py(h5py.opaque_dtype(np.dtype(dtype)))
    assert _decoded(encode_datatype(np.dtype(dtype))).equal(expected)


def test_datatype_of_string_dtype_variable_length_utf8() -> None:
    assert _decoded(encode_datatype(np.dtypes.StringDType())).equal(_of_h5py(h5py.string_dtype()))


def test_datatype_of_bfloat16_equals_library() -> None:
    decoded = _decoded(encode_datatype(np.dtype(ml_dtypes.bfloat16)))
    assert decoded.get_fields() == (15, 7, 8, 0, 7)
    assert decoded.get_ebias() == 127


@given(
    st_np.nested_dtypes(
        st_np.integer_dtypes() | st_np.floating_dtypes() | st_np.boolean_dtypes(), max_itemsize=400
    )
)
def test_datatype_of_drawn_nested_dtype_equals_h5py(dtype: np.dtype[Any]) -> None:
    assume(r"\x00" not in repr(dtype))  # h5py cuts names there
    try:
        expected = _of_h5py(dtype)
    except (ValueError, TypeError):  # dimensions of size 0
        with pytest.raises(DatatypeError):
            encode_datatype(dtype)
        return
    assert _decoded(encode_datatype(dtype)).equal(expected)


@pytest.mark.parametrize(
    ("record", "class_id", "size"),
    [
        (FixedLengthString(4, CharacterSet.UTF8, StringPadding.SPACE_PAD), h5py.h5t.STRING, 4),
        (Opaque(5, "eight ch"), h5py.h5t.OPAQUE, 5),
        (Opaque(5, "t" * 248), h5py.h5t.OPAQUE, 5),
        (VariableLengthString(CharacterSet.ASCII, StringPadding.NULL_PAD), h5py.h5t.STRING, 16),
        (VariableLengthSequence(VariableLengthString()), h5py.h5t.VLEN, 16),
        (ObjectReferenceClass(), h5py.h5t.REFERENCE, 8),
        (RegionReferenceClass(), h5py.h5t.REFERENCE, 12),
        (Array(Enumeration(FixedPoint(2, signed=False), (("A", 65_535),)), (3, 2)), h5py.h5t.ARRAY, 12),
        (Complex(FloatingPoint(4, 32, 31, 23, 8, 0, 23, 127)), h5py.h5t.COMPLEX, 8),
        (
            Array(Complex(FloatingPoint(8, 64, 63, 52, 11, 0, 52, 1023, big_endian=True)), (2,)),
            h5py.h5t.ARRAY,
            32,
        ),
    ],
    ids=str,
)
def test_datatype_of_record_decoded_by_library(record: Any, class_id: int, size: int) -> None:
    decoded = _decoded(encode_datatype(record))
    assert decoded.get_class() == class_id
    assert sizeof_element(record) == size
    if isinstance(record, Opaque):
        assert decoded.get_tag().decode() == record.tag
    if isinstance(record, Complex):
        assert decoded.equal(h5py.h5t.COMPLEX_IEEE_F32LE)
    if isinstance(record, FixedLengthString):
        assert (decoded.get_cset(), decoded.get_strpad()) == (1, 2)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ("U5", "dtype <U5"),
        ("O", "say what the objects are"),
        ("S0", "size 0"),
        ([("a", [("b", "f4"), ("c", "O")])], r"field 'a\.c'"),
        ([("a", [("b", "U3", 2)])], r"field 'a\.b\[2\]'"),
        ([("a", "f4", (2, 0))], "size 0"),
        ({"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 2]}, "'a' and 'b' overlap"),
        ([], "at least one field"),
        ([("a\0b", "i4")], "no NUL"),
        (ml_dtypes.float8_e4m3fn, "float8_e4m3fn"),
    ],
    ids=str,
)
def test_datatype_of_impossible_dtype_datatype_error(dtype: Any, message: str) -> None:
    with pytest.raises(DatatypeError, match=message):
        encode_datatype(np.dtype(dtype))


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (Opaque(1, "t" * 249), LimitError),
        (Compound(4, ()), DatatypeError),
        (VariableLengthSequence(Compound(4, ())), DatatypeError),
        (Compound(4, (CompoundMember("", 0, FixedPoint(4, signed=True)),)), DatatypeError),
        (Enumeration(FixedPoint(1, signed=True), (("BIG", 128),)), DatatypeError),
        (Array(FixedPoint(1, signed=True), ()), DatatypeError),
        (Array(FixedPoint(1, signed=True), (1,) * 33), DatatypeError),
        (FixedLengthString(2**32), LimitError),
    ],
    ids=str,
)
def test_datatype_of_impossible_record_error(record: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode_datatype(record)


def test_enumeration_of_256_members_all_decoded() -> None:
    members = tuple((f"M{i}", i) for i in range(300))
    decoded = _decoded(encode_datatype(Enumeration(FixedPoint(2, signed=False), members)))
    assert decoded.get_nmembers() == 300
    assert decoded.enum_valueof(b"M299") == 299
