"""Named datatypes, as other programs find them: h5py, h5dump, h5ls, netCDF4, ncdump, PyTables."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import tables

import streamh5
from streamh5 import errors
from tests.readers.hdf5_tools import differs, h5ls, repacks
from tests.readers.programs import run_program

SEQUENCES = np.empty(3, h5py.vlen_dtype("f4"))
SEQUENCES[:] = [np.arange(n, dtype="f4") for n in range(3)]
NAMED: dict[str, Any] = {
    "record": np.array([(1, 2.5), (3, 4.5), (5, 6.5)], [("a", "i4"), ("b", ">f8")]),
    "enum": np.array([0, 2, 1], h5py.enum_dtype({"A": 0, "B": 1, "C": 2}, "u1")),
    "sequences": SEQUENCES,
    "text": np.array(["one", "two", "three"], h5py.string_dtype()),
    "plain": np.arange(3, dtype="i2"),
    "bool": np.array([True, False, True]),
}


def write(file: Any) -> None:
    """Write the same with h5py and with streamh5."""
    for name, values in NAMED.items():
        file[f"types/{name}"] = values.dtype
        kind = file[f"types/{name}"]
        file.create_dataset(f"whole/{name}", data=values, dtype=kind)
        file.create_dataset(f"chunked/{name}", data=values, dtype=kind, chunks=(2,), compression="gzip")
        file["whole"].attrs.create(name, values, dtype=kind)
        kind.attrs["note"] = f"what {name} is"
        kind.attrs.create("own", values[1:2], dtype=kind)
    file["again"] = file["types/record"]
    file.attrs.create("gone", NAMED["plain"], dtype=file["types/plain"])
    del file.attrs["gone"]
    file.attrs.create("other", NAMED["plain"], dtype=file["types/plain"])
    file.attrs["other"] = 1


def test_named_datatypes_are_what_h5py_writes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.h5", "w") as other, streamh5.File(tmp_path / "a.h5") as file:
        write(other)
        write(file)
        assert isinstance(file["types/record"], streamh5.Datatype)
        assert file["again"] == file["types/record"]
        types = file["types"]
        assert isinstance(types, streamh5.Group)
        assert dict(types.items()) == {name: file[f"types/{name}"] for name in NAMED}
    with h5py.File(tmp_path / "b.h5") as other, h5py.File(tmp_path / "a.h5") as found:
        for name, values in NAMED.items():
            kind = found["types"][name]
            assert isinstance(kind, h5py.Datatype)
            assert kind.id.committed()
            assert kind.id == other["types"][name].id
            assert kind.dtype.metadata == values.dtype.metadata
            assert h5py.h5o.get_info(kind.id).rc == h5py.h5o.get_info(other["types"][name].id).rc, name
            assert kind.attrs["note"] == f"what {name} is"
            address = h5py.h5o.get_info(kind.id).addr
            for group in ("whole", "chunked"):
                shared = found[group][name].id.get_type()
                assert shared.committed()
                assert h5py.h5o.get_info(shared).addr == address
                for one, two in zip(found[group][name][()], values, strict=True):
                    assert np.array_equal(one if name != "text" else one.decode(), two)
            for owner, key in ((found["whole"], name), (kind, "own")):
                attribute = h5py.h5a.open(owner.id, key.encode())
                assert attribute.get_type().committed()
                assert h5py.h5o.get_info(attribute.get_type()).addr == address
                if name != "sequences":
                    assert np.array_equal(owner.attrs[key], values if key == name else values[1:2])
            if name == "sequences":
                assert [one.tolist() for one in found["whole"].attrs[name]] == [[], [0], [0, 1]]
        assert found["again"] == found["types/record"]
    assert differs(tmp_path / "a.h5", tmp_path / "b.h5") is None
    # h5diff ends with status 1 for a copy of h5py's file as well, without a difference
    run_program("h5repack", tmp_path / "a.h5", tmp_path / "copy.h5")
    with h5py.File(tmp_path / "copy.h5") as copy:
        assert copy["whole/record"].id.get_type().committed()
    dumped = subprocess.run(
        ["h5dump", "-H", tmp_path / "a.h5"], check=True, capture_output=True, text=True
    ).stdout
    assert 'DATATYPE "enum" H5T_ENUM' in dumped
    assert 'DATATYPE  "/types/enum"' in dumped
    assert "Type" in h5ls(tmp_path / "a.h5", "types")


def test_named_datatype_whose_users_go_is_freed_by_the_library(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file["t"] = np.dtype("i4")
        file.create_dataset("x", data=[1, 2], dtype=file["t"])
        file.attrs.create("a", 3, dtype=file["t"])
    with h5py.File(tmp_path / "a.h5", "r+") as changed:
        del changed["t"]
        assert h5py.h5o.get_info(changed["x"].id.get_type()).rc == 2
        del changed["x"]
        assert h5py.h5o.get_info(h5py.h5a.open(changed.id, b"a").get_type()).rc == 1
        assert changed.attrs["a"] == 3
        del changed.attrs["a"]
    with h5py.File(tmp_path / "a.h5") as found:
        assert (list(found), dict(found.attrs)) == ([], {})
    repacks(tmp_path / "a.h5")


def test_reference_to_a_named_datatype_leads_to_it(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file["types/t"] = np.dtype([("a", "i4")])
        file.attrs["type"] = streamh5.Reference("/types/t")
        file["references"] = np.array([streamh5.Reference("/types/t")])
    with h5py.File(tmp_path / "a.h5") as found:
        for reference in (found.attrs["type"], found["references"][0]):
            assert isinstance(found[reference], h5py.Datatype)
            assert found[reference] == found["types/t"]


def write_for_netcdf(path: Path) -> None:
    with streamh5.File(path, track_order=True) as file:
        for name in ("enum", "record", "sequences"):
            values = NAMED[name].astype([("a", "i4"), ("b", "f8")]) if name == "record" else NAMED[name]
            file[f"{name}_t"] = values.dtype
            file.create_dataset(name, data=values, dtype=file[f"{name}_t"], chunks=(2,))


def test_variables_of_named_datatypes_are_read_by_netcdf(tmp_path: Path) -> None:
    write_for_netcdf(tmp_path / "a.nc")
    with netCDF4.Dataset(tmp_path / "a.nc") as found:
        assert found.enumtypes["enum_t"].enum_dict == {"A": 0, "B": 1, "C": 2}
        assert found["enum"].datatype.name == "enum_t"
        assert found["enum"][:].tolist() == [0, 2, 1]
        assert found.cmptypes.keys() == {"record_t"}
        assert found["record"][:].tolist() == NAMED["record"].tolist()
        assert found.vltypes.keys() == {"sequences_t"}
        assert [one.tolist() for one in found["sequences"][:]] == [[], [0], [0, 1]]
    dumped = subprocess.run(["ncdump", tmp_path / "a.nc"], check=True, capture_output=True, text=True).stdout
    assert "enum_t enum(" in dumped
    assert "enum = A, C, B" in dumped


def test_variables_of_named_datatypes_are_read_by_pytables(tmp_path: Path) -> None:
    write_for_netcdf(tmp_path / "a.h5")
    with tables.open_file(tmp_path / "a.h5") as found:
        assert found.root.record[:].tolist() == NAMED["record"].tolist()
        assert [found.root.enum.get_enum()(int(value)) for value in found.root.enum[:]] == ["A", "C", "B"]


def test_named_datatypes_survive_salvage_and_resume(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        file = streamh5.File(tmp_path / name, resume=True)
        write(file)
        file.session.wait()
        file.suspend()
    streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "s.h5")
    with streamh5.File(tmp_path / "b.h5", resume=True) as file:
        write(file)
    with h5py.File(tmp_path / "c.h5", "w") as other:
        write(other)
    for name in ("s.h5", "b.h5"):
        with h5py.File(tmp_path / name) as found, h5py.File(tmp_path / "c.h5") as other:
            for kind in NAMED:
                one, two = found["types"][kind].id, other["types"][kind].id
                assert one == two
                assert h5py.h5o.get_info(one).rc == h5py.h5o.get_info(two).rc
                assert found["chunked"][kind].id.get_type().committed()
                assert h5py.h5a.open(found["whole"].id, kind.encode()).get_type().committed()


def test_addition_keeps_named_datatypes_and_makes_new_ones(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file["types/record"] = NAMED["record"].dtype
        file["types/record"].attrs["note"] = "what record is"
        file.create_dataset("whole/record", data=NAMED["record"], dtype=file["types/record"])
        file["whole"].attrs.create("shared", NAMED["record"], dtype=file["types/record"])
    with streamh5.File(tmp_path / "a.h5", "a") as file:
        file["new"] = np.dtype("f4")
        file.create_dataset("of new", data=[1.5], dtype=file["new"])
        file.create_dataset("types/beside", data=[1.5])
        file["whole/beside"] = 1.5
        assert file["types/record"].attrs["note"] == "what record is"
    with h5py.File(tmp_path / "a.h5") as found:
        assert h5py.h5o.get_info(found["new"].id).rc == 2
        assert found["whole/record"].id.get_type().committed()
        assert found["types/record"].attrs["note"] == "what record is"
        assert h5py.h5o.get_info(found["types/record"].id).rc == 3
        shared = h5py.h5a.open(found["whole"].id, b"shared")
        assert shared.get_type() == found["types/record"].id
        assert shared.get_type().committed()
        assert found["whole"].attrs["shared"].tolist() == NAMED["record"].tolist()


@pytest.mark.parametrize("by_h5py", [False, True])
def test_addition_to_a_file_full_of_attributes_of_a_named_datatype(by_h5py: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    other: Any = h5py.File(path, "w", libver=("v110", "v110")) if by_h5py else streamh5.File(path)
    with other as file:
        file["t"] = np.dtype("u1")
        for name in ("g", "h"):
            for i in range(100):
                file.require_group(name).attrs.create(f"a{i}", np.ones(3, "u1"), dtype=file["t"])
    with streamh5.File(path, "a") as file:
        file["g/new"] = 1
    with h5py.File(path) as found:
        assert h5py.h5o.get_info(found["t"].id).rc == 201
        for name in ("g", "h"):
            shared = h5py.h5a.open(found[name].id, b"a99")
            assert shared.get_type() == found["t"].id
            assert found[name].attrs["a99"].tolist() == [1, 1, 1]
    repacks(path)


def test_named_datatype_of_another_file_is_refused(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, streamh5.File(tmp_path / "b.h5") as other:
        other["t"] = np.dtype("i4")
        with pytest.raises(errors.DatatypeError, match=r"/x: /t is a named datatype of another file"):
            file.create_dataset("x", (3,), dtype=other["t"])
        with pytest.raises(errors.DatatypeError, match="another file"):
            file.attrs.create("a", 3, dtype=other["t"])
        with pytest.raises(errors.PathError, match="another file"):
            file["t"] = other["t"]
        with pytest.raises(errors.DatatypeError, match="string_dtype"):
            file["t"] = np.dtype("O")
        with pytest.raises(errors.PathError, match="named datatype /t exists already"):
            other["t"] = np.dtype("i4")
        with pytest.raises(errors.PathError, match="/t is not a group"):
            other["t/x"] = 1
        assert list(file) == []


def test_attribute_made_with_a_marked_dtype_has_it(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, h5py.File(tmp_path / "b.h5", "w") as other:
        for one in (file, other):
            one.attrs.create("enum", 1, dtype=NAMED["enum"].dtype)
            one.attrs.create("matrix", [[1, 2], [0, 0]], dtype=NAMED["enum"].dtype)
            one.attrs.create("text", ["a", "ä"], dtype=h5py.string_dtype())
    with h5py.File(tmp_path / "a.h5") as found, h5py.File(tmp_path / "b.h5") as other:
        for name in ("enum", "matrix", "text"):
            kinds = [h5py.h5a.open(one.id, name.encode()).get_type() for one in (found, other)]
            assert kinds[0] == kinds[1]
            assert np.array_equal(found.attrs[name], other.attrs[name])


def make_types(file: Any) -> None:
    """Create named datatypes, and a dataset that has one."""
    file["t"] = np.dtype([("a", "i4"), ("b", "f8")])
    file["e"] = h5py.enum_dtype({"x": 1, "y": 2})
    file["s"] = h5py.string_dtype()
    file.create_dataset("old", (3,), file["t"])


def use_types(file: Any) -> None:
    """Use the datatypes that `make_types` has created, and change them."""
    x = file.create_dataset("x", (4,), file["t"])
    file.create_dataset("text", data=["a", "b"], dtype=file["s"])
    x.attrs.create("pair", np.zeros((), file["t"].dtype), dtype=file["t"])
    x.attrs.create("word", 1, dtype=file["e"])
    file["t"].attrs["note"] = "changed"
    file.move("e", "moved/e")


@pytest.mark.parametrize("maker", ["streamh5", "h5py"])
def test_named_datatypes_of_an_existing_file_are_shared_by_new_objects(maker: str, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.h5", tmp_path / "theirs.h5"
    with streamh5.File(ours) if maker == "streamh5" else h5py.File(ours, "w") as made:
        make_types(made)
    with h5py.File(theirs, "w") as other:
        make_types(other)
        use_types(other)
    with streamh5.File(ours, "r+") as file:
        assert file["t"].dtype == np.dtype([("a", "i4"), ("b", "f8")])  # type: ignore[union-attr]
        use_types(file)
    facts = []
    for path in (ours, theirs):
        with h5py.File(path) as found:
            x = found["x"]
            named = {name: h5py.h5o.get_info(found[name].id).rc for name in ("t", "s", "moved/e")}
            types = [x.id.get_type(), x.attrs.get_id("pair").get_type(), found["text"].id.get_type()]
            assert types[0] == types[1] == found["t"].id
            facts.append(
                (named, [one.committed() for one in types], found["t"].attrs["note"], x.attrs["word"])
            )
    assert facts[0] == facts[1]
    assert differs(ours, theirs) is None


def _users(path: Path, libver: str) -> None:
    with h5py.File(path, "w", libver=libver) as file:
        file["t"], file["u"] = np.dtype([("a", "i4"), ("b", "f8")]), np.dtype("f4")
        for name in ("x", "y", "z", "h/w"):
            file.create_dataset(name, (3,), file["t"])
        file["g/z"], file["t2"] = file["z"], file["t"]
        for owner, name in (("h", "a"), ("x", "a"), ("x", "b")):
            file[owner].attrs.create(name, 1.5, dtype=file["u"])


def _delete(*paths: str) -> Callable[[Any], None]:
    def delete(file: Any) -> None:
        for path in paths:
            del file[path]

    return delete


def _delete_attribute(file: Any) -> None:
    del file["x"].attrs["a"]


def _set_attribute(file: Any) -> None:
    file["x"].attrs["a"] = 7.0


CHANGES: dict[str, Callable[[Any], None]] = {
    "dataset": _delete("x"),
    "one of two names": _delete("z"),
    "both names": _delete("z", "g/z"),
    "group": _delete("h"),
    "name of the datatype": _delete("t2"),
    "attribute": _delete_attribute,
    "attribute of another type": _set_attribute,
}


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("change", CHANGES)
def test_count_of_a_named_datatype_follows_its_stored_users_as_in_h5py(
    change: str, libver: str, tmp_path: Path
) -> None:
    paths = (tmp_path / "h5py.h5", tmp_path / "streamh5.h5")
    for path in paths:
        _users(path, libver)
    with h5py.File(paths[0], "r+") as file:
        CHANGES[change](file)
    with streamh5.File(paths[1], "a") as changed:
        CHANGES[change](changed)
    counts = []
    for path in paths:
        with h5py.File(path) as file:
            counts.append({name: h5py.h5o.get_info(file[name].id).rc for name in ("t", "u")})
    assert counts[1] == counts[0]
