"""Values of every datatype in whole files built by hand, as h5py gives them back."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis.extra import numpy as st_np

from streamh5.errors import BlockError, DatatypeError
from streamh5.format.character_set import CharacterSet
from streamh5.format.data_layout import ContiguousLayout
from streamh5.format.dataspace import Dataspace
from streamh5.format.datatype import AnyDatatype
from streamh5.format.datatype_class import (
    Array,
    Complex,
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
from streamh5.format.elements import encode_elements, needs_global_heap
from streamh5.format.global_heap import (
    encode_global_heap_collection,
    encode_global_heap_id,
    split_into_collections,
)
from streamh5.format.region_reference import encode_region_reference_object

if TYPE_CHECKING:
    from tests.format.conftest import FileBuilder


def _add(builder: FileBuilder, values: np.ndarray, datatype: AnyDatatype, shape: Any = None) -> None:
    def place(objects: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        addresses = np.empty(len(objects), np.uint64)
        indices = np.empty(len(objects), np.uint32)
        for group in split_into_collections([len(data) for data in objects], 4096):
            addresses[group] = builder.add(encode_global_heap_collection(objects[group]))
            indices[group] = np.arange(1, group.stop - group.start + 1)
        return addresses, indices

    heap = place if needs_global_heap(datatype) else None
    data = encode_elements(values, datatype, place_objects=heap)
    layout = ContiguousLayout(builder.add(data), len(data))
    space = Dataspace(values.shape if shape is None else shape)
    builder.add_dataset("x", layout, dtype=datatype, space=space)


def _objects(*values: object) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


_TEXTS = ["", "a", "ünï", "x" * 5000, "last"]
_NESTED = np.dtype(
    {
        "names": ["id", "text", "inner", "seq"],
        "formats": [
            "i2",
            h5py.string_dtype(),
            np.dtype([("names", h5py.string_dtype("ascii"), (2,)), ("z", "c8")]),
            h5py.vlen_dtype(np.dtype(">f4")),
        ],
        "offsets": [0, 8, 16, 48],
        "itemsize": 64,
    }
)


@pytest.mark.parametrize(
    "values",
    [
        _objects(*_TEXTS),
        _objects(*(text.encode() for text in _TEXTS)),
        np.array(_TEXTS, np.dtypes.StringDType()),
    ],
    ids=["str", "bytes", "StringDType"],
)
def test_variable_length_text_read_by_h5py(builder: FileBuilder, values: np.ndarray) -> None:
    _add(builder, values, h5py.string_dtype())
    path = builder.write()
    with h5py.File(path) as file:
        assert file["x"].asstr()[:].tolist() == _TEXTS
        assert file["x"].dtype == h5py.string_dtype()
    dump = subprocess.run(["h5dump", str(path)], capture_output=True, text=True, check=True).stdout
    assert '"last"' in dump


@pytest.mark.parametrize(
    "record",
    [
        FixedLengthString(6, CharacterSet.UTF8),
        FixedLengthString(7, CharacterSet.UTF8, StringPadding.NULL_TERMINATE),
        h5py.string_dtype("utf-8", 6),
    ],
    ids=str,
)
def test_fixed_length_text_read_by_h5py(builder: FileBuilder, record: Any) -> None:
    texts = ["", "abc", "ünï"]
    _add(builder, np.array(texts), record)
    with h5py.File(builder.write()) as file:
        assert file["x"].asstr()[:].tolist() == texts
        assert h5py.check_string_dtype(file["x"].dtype).encoding == "utf-8"


@pytest.mark.parametrize("base", ["<i4", ">f8", "?", "S3"])
def test_sequences_read_by_h5py(builder: FileBuilder, base: str) -> None:
    sequences = [np.arange(n).astype(base) for n in (3, 0, 1, 2000)]
    _add(builder, _objects(*sequences), h5py.vlen_dtype(np.dtype(base)))
    with h5py.File(builder.write()) as file:
        for ours, theirs in zip(sequences, file["x"][:], strict=True):
            np.testing.assert_array_equal(theirs, ours)


def test_sequences_of_texts_and_of_sequences_read_by_h5py(builder: FileBuilder) -> None:
    texts = _objects(_objects("a", "", "ü" * 3000), _objects(), _objects("z"))
    _add(builder, texts, VariableLengthSequence(VariableLengthString()))
    ragged = _objects(_objects(np.arange(3), np.arange(1)), _objects(np.arange(2)))
    integers = VariableLengthSequence(VariableLengthSequence(FixedPoint(8, signed=True)))
    builder.links.clear()
    _add(builder, ragged, integers)
    with h5py.File(builder.write()) as file:
        assert [[inner.tolist() for inner in outer] for outer in file["x"][:]] == [[[0, 1, 2], [0]], [[0, 1]]]
    builder.links.clear()
    _add(builder, texts, h5py.vlen_dtype(h5py.string_dtype()))
    with h5py.File(builder.write()) as file:
        assert [[text.decode() for text in outer] for outer in file["x"][:]] == [
            ["a", "", "ü" * 3000],
            [],
            ["z"],
        ]


def test_compound_with_heap_members_and_padding_read_by_h5py(builder: FileBuilder) -> None:
    values = np.zeros(3, _NESTED)
    values["id"] = [1, 2, 3]
    values["text"] = ["one", "", "drei ü"]
    values["inner"]["names"] = [["a", "b"], ["", "d"], ["e", "f" * 999]]
    values["inner"]["z"] = [1j, 2, 3 + 1j]
    values["seq"] = _objects(np.arange(2, dtype=">f4"), np.arange(0, dtype=">f4"), np.ones(9, ">f4"))
    _add(builder, values, _NESTED)
    with h5py.File(builder.write()) as file:
        read = file["x"][:]
    assert read["id"].tolist() == [1, 2, 3]
    assert [text.decode() for text in read["text"]] == ["one", "", "drei ü"]
    assert read["inner"]["names"].tolist() == [[b"a", b"b"], [b"", b"d"], [b"e", b"f" * 999]]
    assert read["inner"]["z"].tolist() == [1j, 2, 3 + 1j]
    assert [seq.tolist() for seq in read["seq"]] == [[0, 1], [], [1] * 9]


def _has_titles(dtype: np.dtype[Any]) -> bool:
    fields = (dtype.base.fields or {}).values()
    return any(len(field) == 3 or _has_titles(field[0]) for field in fields)


@settings(max_examples=60)
@given(
    st_np.arrays(
        st_np.nested_dtypes(
            st_np.integer_dtypes() | st_np.floating_dtypes() | st_np.complex_number_dtypes(), max_itemsize=200
        ),
        st_np.array_shapes(max_dims=2, max_side=3),
    )
)
def test_drawn_arrays_come_back_from_h5py(builder: FileBuilder, values: np.ndarray) -> None:
    assume(r"\x00" not in repr(values.dtype))  # h5py cuts names there
    assume(not _has_titles(values.dtype))  # HDF5 has none
    assume(", 0" not in repr(values.dtype) and "(0" not in repr(values.dtype))  # no dimensions of size 0
    builder.links.clear()
    _add(builder, values, values.dtype)
    with h5py.File(builder.write()) as file:
        assert file["x"].dtype == values.dtype
        assert file["x"][()].tobytes() == values.tobytes()


def test_padding_of_compound_written_as_zero() -> None:
    dtype = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    values = np.frombuffer(b"\xaa" * dtype.itemsize, dtype)
    assert encode_elements(values, dtype) == b"\xaa" + bytes(7) + b"\xaa" * 8


def test_time_enum_array_opaque_bool_read_by_h5py(builder: FileBuilder) -> None:
    dtype = np.dtype(
        [
            ("time", "<M8[ms]"),
            ("span", ">m8[D]"),
            ("color", h5py.enum_dtype({"RED": 0, "BLUE": 300}, basetype="<i2")),
            ("grid", "<f4", (2, 3)),
            ("raw", "V3"),
            ("flag", "?"),
        ]
    )
    values = np.zeros(2, dtype)
    values["time"] = np.array(["2024-01-02", "NaT"], "M8[ms]")
    values["span"] = [3, -5]
    values["color"] = [300, 0]
    values["grid"] = np.arange(12).reshape(2, 2, 3)
    values["raw"] = [b"abc", b"\0\x01\xff"]
    values["flag"] = [True, False]
    _add(builder, values, dtype)
    with h5py.File(builder.write()) as file:
        read = file["x"][:]
        assert h5py.check_enum_dtype(file["x"].dtype["color"]) == {"RED": 0, "BLUE": 300}
    for name in ("time", "span", "color", "grid", "raw", "flag"):
        assert read[name].tobytes() == values[name].tobytes()
        assert read.dtype[name] == dtype[name]


def test_records_of_plain_bytes_read_by_h5py(builder: FileBuilder) -> None:
    members = (("A", 1), ("B", 2))
    records: dict[str, tuple[np.ndarray, Any]] = {
        "enum": (np.array([2, 1], ">u2"), Enumeration(FixedPoint(2, signed=False, big_endian=True), members)),
        "opaque": (np.array([b"ab", b"cd"], "V2"), Opaque(2, "a tag")),
        "array": (np.arange(6, dtype="<i4"), Array(FixedPoint(4, signed=True), (3,))),
    }
    _add(builder, *records["enum"])
    with h5py.File(builder.write()) as file:
        assert file["x"][:].tolist() == [2, 1]
    builder.links.clear()
    _add(builder, *records["opaque"])
    with h5py.File(builder.write()) as file:
        assert file["x"].id.get_type().get_tag() == b"a tag"
        read = np.zeros(2, "V2")
        file["x"].id.read(h5py.h5s.ALL, h5py.h5s.ALL, read, file["x"].id.get_type())
        assert read.tobytes() == b"abcd"
    builder.links.clear()
    _add(builder, *records["array"], shape=(2,))
    with h5py.File(builder.write()) as file:
        assert file["x"][:].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_bfloat16_and_long_double_read_by_h5py(builder: FileBuilder) -> None:
    values = np.array([1.5, -2, 3e38, np.inf], ml_dtypes.bfloat16)
    _add(builder, values, values.dtype)
    with h5py.File(builder.write()) as file:
        np.testing.assert_array_equal(file["x"].astype("f4")[:], values.astype("f4"))
    builder.links.clear()
    long_doubles = np.array([np.pi, -1e300, 0], np.longdouble) / 3
    _add(builder, long_doubles, long_doubles.dtype)
    with h5py.File(builder.write()) as file:
        np.testing.assert_array_equal(file["x"][:], long_doubles)
        assert file["x"].dtype == np.longdouble


def test_native_complex_read_by_h5py(builder: FileBuilder) -> None:
    values = np.array([1 + 2j, -3j], "<c16")
    _add(builder, values, Complex(FloatingPoint(8, 64, 63, 52, 11, 0, 52, 1023)))
    with h5py.File(builder.write()) as file:
        assert file["x"].id.get_type().get_class() == h5py.h5t.COMPLEX
        np.testing.assert_array_equal(file["x"][:], values)


def test_object_references_resolved_by_h5py(builder: FileBuilder) -> None:
    _add(builder, np.arange(3), np.dtype("<i8"))
    address = builder.reserve(0)
    builder.links.clear()
    target = builder.add_dataset(
        "target", ContiguousLayout(48, 24), dtype=np.dtype("<i8"), space=Dataspace((3,))
    )
    assert target == address
    _add(builder, np.array([target, 0, target], np.uint64), ObjectReferenceClass())
    path = builder.write()
    with h5py.File(path) as file:
        assert file["x"].dtype == h5py.ref_dtype
        first, none, _ = file["x"][:]
        assert file[first].name == "/target"
        assert not none
        assert file[first][2] == 2


def test_region_references_resolved_by_h5py(builder: FileBuilder) -> None:
    data = np.arange(30, dtype="<i4").reshape(5, 6)
    layout = ContiguousLayout(builder.add(data.tobytes()), data.nbytes)
    target = builder.add_dataset("target", layout, dtype=data.dtype, space=Dataspace(data.shape))
    blocks = [(slice(0, 2), slice(1, 3)), (slice(4, 5), slice(0, 6))]
    objects = (
        encode_region_reference_object(target, blocks),
        encode_region_reference_object(target, blocks[:1]),
    )
    heap = builder.add(encode_global_heap_collection(objects))
    _add(
        builder,
        _objects(encode_global_heap_id(heap, 1), encode_global_heap_id(heap, 2)),
        RegionReferenceClass(),
    )
    path = builder.write()
    with h5py.File(path) as file:
        both, one = file["x"][:]
        assert file[both].name == "/target"
        assert h5py.h5r.get_region(both, file.id).get_select_npoints() == 4 + 6
        np.testing.assert_array_equal(file["target"][one], data[:2, 1:3])
    dump = subprocess.run(["h5dump", "-d", "x", str(path)], capture_output=True, text=True, check=True).stdout
    assert dump.count("(0,1)-(1,2)") == 2
    assert "(4,0)-(4,5)" in dump


@pytest.mark.parametrize("blocks", [[], [()], [(slice(0, 0),)], [(slice(0, 1),), (slice(0, 1), slice(0, 1))]])
def test_region_reference_without_region_block_error(blocks: Any) -> None:
    with pytest.raises(BlockError):
        encode_region_reference_object(48, blocks)


def _no_place(objects: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    raise AssertionError("placed although refused")


@pytest.mark.parametrize(
    ("values", "datatype", "message"),
    [
        (_objects("a", 3), h5py.string_dtype(), "int instead of text"),
        (_objects("a\0b"), h5py.string_dtype(), "NUL"),
        (_objects("ü"), h5py.string_dtype("ascii"), "beyond ASCII"),
        (np.array(["üü"]), FixedLengthString(3, CharacterSet.UTF8), "4 bytes does not fit strings of 3"),
        (_objects(np.zeros((2, 2))), h5py.vlen_dtype(np.dtype("f8")), "shape"),
        (_objects(np.zeros(2)), h5py.vlen_dtype(np.dtype("i4")), "float64 where int32"),
        (np.zeros(2, "f4"), np.dtype("f8"), "not elements"),
        (_objects(1), np.dtype("f8"), "not elements"),
        (np.zeros(7, "i4"), Array(FixedPoint(4, signed=True), (3,)), "7 values"),
        (np.zeros(2, "i4,i4"), np.dtype("f4,f4,f4"), "fields"),
        (
            np.array([(1, "ä")], [("n", "i4"), ("s", "O")]),
            np.dtype([("n", "i4"), ("s", h5py.string_dtype("ascii"))]),
            "field 's'",
        ),
    ],
)
def test_values_of_other_type_datatype_error(values: np.ndarray, datatype: Any, message: str) -> None:
    with pytest.raises(DatatypeError, match=message):
        encode_elements(values, datatype, place_objects=_no_place)


def test_variable_length_without_heap_datatype_error() -> None:
    with pytest.raises(DatatypeError, match="global heap"):
        encode_elements(_objects("a"), h5py.string_dtype())
