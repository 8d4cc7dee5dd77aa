"""Datatype messages of other writers, kept byte for byte: h5py finds the type and the bytes that it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.filters import FilterOptions
from streamh5.format.datatype_class import EncodedDatatype
from streamh5.handles.dataset_plan import plan_dataset
from streamh5.model.attribute_spec import attribute_spec
from tests.readers.hdf5_tools import differs, h5ls, repacks


def changed(kind: Any, **settings: Any) -> Any:
    """Copy a type of h5py, with some of its properties set."""
    new = kind.copy()
    for name, value in settings.items():
        getattr(new, f"set_{name}")(*(value if isinstance(value, tuple) else (value,)))
    return new


def compound(nbytes: int, **members: tuple[int, Any]) -> Any:
    kind = h5py.h5t.create(h5py.h5t.COMPOUND, nbytes)
    for name, (position, member) in members.items():
        kind.insert(name.encode(), position, member)
    return kind


TYPES: dict[str, Any] = {
    "bit field": h5py.h5t.STD_B8LE,
    "big-endian bit field": h5py.h5t.STD_B32BE,
    "time": h5py.h5t.UNIX_D32LE,
    "tagged": changed(h5py.h5t.create(h5py.h5t.OPAQUE, 6), tag=b"a tag of somebody else"),
    "spaces": changed(h5py.h5t.C_S1, size=7, strpad=h5py.h5t.STR_SPACEPAD),
    "terminated": changed(h5py.h5t.C_S1, size=7, strpad=h5py.h5t.STR_NULLTERM, cset=h5py.h5t.CSET_UTF8),
    "12 bits": changed(h5py.h5t.STD_I16BE, precision=12, offset=2),
    "hole": compound(8, a=(4, h5py.h5t.IEEE_F32BE)),
    "enum": h5py.h5t.py_create(h5py.enum_dtype({"b": 2, "a": -1, "ü": 7}, ">i2")),
    "array of array": h5py.h5t.array_create(h5py.h5t.array_create(h5py.h5t.STD_I16BE, (2,)), (3, 1)),
    "record": compound(40, b=(1, h5py.h5t.STD_B8LE), a=(8, h5py.h5t.array_create(h5py.h5t.UNIX_D64BE, (3,)))),
}
"""Types without pointers that numpy has no dtype for, or another one that h5py makes of it."""


def message(kind: Any) -> EncodedDatatype:
    """Return the message of a type, which H5Tencode puts behind two bytes of its own.

    Text of variable length is a pointer in memory, of 8 bytes, and takes 16 in a file.
    """
    body: bytes = kind.encode()[2:]
    if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
        body = body[:4] + (16).to_bytes(4, "little") + body[8:]
    return EncodedDatatype(body)


def raw_values(nbytes: int, n: int = 7) -> Any:
    return np.frombuffer(np.random.default_rng(nbytes).bytes(nbytes * n), f"V{nbytes}")


def create(file: streamh5.File, path: str, kind: Any, values: Any, **keywords: Any) -> streamh5.Dataset:
    spec, chain = plan_dataset(
        path, shape=values.shape, dtype=values.dtype, datatype=message(kind), libver=file.libver, **keywords
    )
    dataset = file.add_dataset(spec, chain)
    dataset[...] = values
    return dataset


def stored(item: Any) -> bytes:
    """Bytes of a dataset or attribute of h5py as they stand in the file."""
    raw = np.empty(item.shape, f"V{item.get_type().get_size()}")
    if isinstance(item, h5py.h5a.AttrID):
        item.read(raw, mtype=item.get_type())
    else:
        item.read(h5py.h5s.ALL, h5py.h5s.ALL, raw, mtype=item.get_type())
    return raw.tobytes()


def write_all(path: Path, kinds: dict[str, Any], libver: str = "v110") -> None:
    with streamh5.File(path, libver=libver) as file:
        for name, kind in kinds.items():
            values = raw_values(kind.get_size())
            create(file, f"/{name}/whole", kind, values)
            create(
                file, f"/{name}/chunked", kind, values, chunks=(3,), filters=FilterOptions(compression="gzip")
            )
            attribute = attribute_spec("values", values, path=f"/{name}", datatype=message(kind))
            file.session.set_attribute(file[name].node, attribute)


@pytest.mark.parametrize("libver", ["v108", "v110"])
def test_datatype_of_another_writer_is_kept_byte_for_byte(libver: str, tmp_path: Path) -> None:
    write_all(tmp_path / "a.h5", TYPES, libver)
    with h5py.File(tmp_path / "a.h5") as found:
        for name, kind in TYPES.items():
            values = raw_values(kind.get_size())
            attribute = h5py.h5a.open(found[name].id, b"values")
            for item in (found[name]["whole"].id, found[name]["chunked"].id, attribute):
                assert item.get_type() == kind, name
                assert item.get_type().encode() == kind.encode(), name
                assert stored(item) == values.tobytes(), name
    h5ls(tmp_path / "a.h5")
    without_times = {name: kind for name, kind in TYPES.items() if name not in ("time", "record")}
    write_all(tmp_path / "b.h5", without_times, libver)
    repacks(tmp_path / "b.h5")  # which copies no times


def test_fill_value_given_as_bytes_is_read_where_nothing_was_written(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        for name, kind in TYPES.items():
            nbytes = kind.get_size()
            spec, chain = plan_dataset(
                f"/{name}",
                shape=(5,),
                dtype=f"V{nbytes}",
                datatype=message(kind),
                chunks=(2,),
                raw_fillvalue=(bytes(range(1, nbytes + 1)),),
            )
            file.add_dataset(spec, chain)
    with h5py.File(tmp_path / "a.h5") as found:
        for name, kind in TYPES.items():
            assert stored(found[name].id) == bytes(range(1, kind.get_size() + 1)) * 5, name


def test_sequences_and_text_in_a_foreign_type_are_what_h5py_writes(tmp_path: Path) -> None:
    sequences = np.empty(3, h5py.vlen_dtype(">i4"))
    sequences[:] = [np.arange(n, dtype=">i4") for n in range(3)]
    with h5py.File(tmp_path / "b.h5", "w") as other, streamh5.File(tmp_path / "a.h5") as file:
        other["x"] = sequences
        create(file, "/x", other["x"].id.get_type(), sequences, chunks=(2,))
        other.create_dataset("t", data=["one", "", "three"], dtype=h5py.string_dtype("ascii"))
        create(
            file,
            "/t",
            other["t"].id.get_type(),
            np.array(["one", "", "three"], h5py.string_dtype()),
            chunks=(2,),
        )
        for name in "xt":
            spec = attribute_spec(
                name, other[name][()], path="/", datatype=message(other[name].id.get_type())
            )
            file.session.set_attribute(file.node, spec)
    with h5py.File(tmp_path / "a.h5") as found, h5py.File(tmp_path / "b.h5") as other:
        for name in "xt":
            assert found[name].id.get_type() == other[name].id.get_type()
            assert h5py.h5a.open(found.id, name.encode()).get_type() == other[name].id.get_type()
        assert [one.tolist() for one in found["x"][()]] == [[], [0], [0, 1]]
        assert found["t"].asstr()[()].tolist() == ["one", "", "three"] == found.attrs["t"].tolist()


def test_datatype_of_another_writer_survives_salvage_and_resume(tmp_path: Path) -> None:
    bits, text = TYPES["bit field"], TYPES["spaces"]
    values = raw_values(1, 6)

    def write(file: streamh5.File, n: int) -> None:
        spec, chain = plan_dataset(
            "/x",
            shape=(6,),
            dtype="V1",
            datatype=message(bits),
            chunks=(2,),
            raw_fillvalue=(b"\x07",),
            filters=FilterOptions(compression="gzip"),
        )
        dataset = file.add_dataset(spec, chain)
        dataset[:n] = values[:n]
        attribute = attribute_spec("a", np.bytes_(b"Parting"), path="/x", datatype=message(text))
        file.session.set_attribute(dataset.node, attribute)

    for name in ("a.h5", "b.h5"):
        file = streamh5.File(tmp_path / name, resume=True)
        write(file, 4)
        file.session.wait()
        file.suspend()
    streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "s.h5")
    with streamh5.File(tmp_path / "b.h5", resume=True) as file:
        write(file, 6)
    for name, n in (("s.h5", 4), ("b.h5", 6)):
        with h5py.File(tmp_path / name) as found:
            assert found["x"].id.get_type() == bits
            assert stored(found["x"].id) == values[:n].tobytes() + b"\x07" * (6 - n)
            assert h5py.h5a.open(found["x"].id, b"a").get_type() == text
            assert found["x"].attrs["a"] == b"Parting"


def test_resume_with_another_datatype_is_refused(tmp_path: Path) -> None:
    file = streamh5.File(tmp_path / "a.h5", resume=True)
    create(file, "/x", h5py.h5t.STD_B16LE, raw_values(2), chunks=(2,))
    file.suspend()
    with (
        pytest.raises(errors.ResumeError, match="datatype"),
        streamh5.File(tmp_path / "a.h5", resume=True) as file,
    ):
        create(file, "/x", h5py.h5t.STD_B16BE, raw_values(2), chunks=(2,))


@pytest.mark.parametrize("dtype", ["V3", "u2", h5py.string_dtype()])
def test_elements_of_another_size_than_their_datatype_are_refused(dtype: Any) -> None:
    with pytest.raises(errors.DatatypeError, match=r"/x: .*the datatype message says 4"):
        plan_dataset("/x", shape=(2,), dtype=dtype, datatype=message(h5py.h5t.STD_B32BE))
    with pytest.raises(errors.AttributeValueError, match=r"'a' of /x: .*the datatype message says 4"):
        attribute_spec("a", np.zeros(2, "V3"), path="/x", datatype=message(h5py.h5t.STD_B32BE))
    with pytest.raises(errors.FillValueError, match="3 bytes"):
        plan_dataset("/x", shape=(2,), dtype="V4", raw_fillvalue=(b"abc",))
    with pytest.raises(errors.DatatypeError, match="datatype message"):
        EncodedDatatype(b"\x10\x08\0\0")


def test_copies_are_equal_to_their_original_for_h5diff(tmp_path: Path) -> None:
    kinds = {name: kind for name, kind in TYPES.items() if name in ("bit field", "tagged", "12 bits", "hole")}
    with h5py.File(tmp_path / "b.h5", "w") as other, streamh5.File(tmp_path / "a.h5") as file:
        for name, kind in kinds.items():
            values = raw_values(kind.get_size())
            space = h5py.h5s.create_simple(values.shape)
            h5py.h5d.create(other.id, name.encode(), kind, space).write(
                h5py.h5s.ALL, h5py.h5s.ALL, values, mtype=kind
            )
            create(file, f"/{name}", kind, values, chunks=(3,))
    assert not differs(tmp_path / "a.h5", tmp_path / "b.h5")
