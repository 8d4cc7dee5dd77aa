"""Names and text that are not UTF-8 are written as the bytes they are, as h5py and C write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from tests.readers.hdf5_tools import differs, h5ls, repacks

LATIN = "Größe".encode("latin-1")
ESCAPED = LATIN.decode("utf-8", "surrogateescape")
FORMS: dict[str, Any] = {"bytes": LATIN, "str": ESCAPED}


def write(file: Any, name: Any, prefix: Any, libver: str = "") -> None:
    """Write the same with h5py, which takes bytes, and with streamh5."""
    file.create_group(name)
    file[prefix + name + prefix + name] = np.arange(3)
    file[name].attrs[name] = 1
    for i in range(300):
        file[name].attrs[name + str(i).encode() if prefix == b"/" else name + str(i)] = i
    file[name].attrs["large"] = np.zeros(100_000)  # dense storage
    many = file.create_group("many")
    for i in range(300):
        many[name + str(i).encode() if prefix == b"/" else name + str(i)] = h5py.SoftLink("/x")


@pytest.mark.parametrize("form", FORMS)
def test_names_that_are_not_utf8_are_what_h5py_writes(form: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.h5", "w", libver=("v110", "v110")) as other:
        write(other, LATIN, b"/")
    with streamh5.File(tmp_path / "a.h5") as file:
        write(file, FORMS[form], b"/" if form == "bytes" else "/")
        assert isinstance(file[LATIN], streamh5.Group)
        assert file[LATIN] == file[ESCAPED]
        assert file[LATIN].attrs[LATIN] == 1
    with h5py.File(tmp_path / "a.h5") as found, h5py.File(tmp_path / "b.h5") as other:
        assert list(found) == list(other) == [LATIN, "many"]
        assert found[LATIN][LATIN][()].tolist() == [0, 1, 2]
        assert list(found[LATIN].attrs) == list(other[LATIN].attrs)
        assert list(found["many"]) == list(other["many"])
        for one in (found, other):
            assert one.id.links.get_info(LATIN).cset == h5py.h5t.CSET_ASCII
            assert h5py.h5a.get_info(one[LATIN].id, LATIN).cset == h5py.h5t.CSET_ASCII
            assert one["many"].id.links.get_val(LATIN + b"7") == b"/x"
            assert one[LATIN].attrs[LATIN + b"299"] == 299
    assert differs(tmp_path / "a.h5", tmp_path / "b.h5") is None
    repacks(tmp_path / "a.h5", "-L")
    h5ls(tmp_path / "a.h5")


@pytest.mark.parametrize("form", FORMS)
def test_link_targets_that_are_not_utf8_are_the_bytes_they_are(form: str, tmp_path: Path) -> None:
    target = FORMS[form]
    with h5py.File(tmp_path / "b.h5", "w") as other:
        other.id.links.create_soft(b"soft", LATIN)
        other.id.links.create_external(b"external", LATIN, LATIN)
    with streamh5.File(tmp_path / "a.h5") as file:
        file["soft"] = h5py.SoftLink(target) if form == "str" else streamh5.SoftLink(ESCAPED)
        file["external"] = streamh5.ExternalLink(ESCAPED, ESCAPED)
    with h5py.File(tmp_path / "a.h5") as found, h5py.File(tmp_path / "b.h5") as other:
        for name in (b"soft", b"external"):
            assert found.id.links.get_val(name) == other.id.links.get_val(name)


def test_text_that_is_not_utf8_is_the_bytes_it_is(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        for label, kind in {"ascii": h5py.string_dtype("ascii"), "utf-8": h5py.string_dtype()}.items():
            file[label] = np.array([LATIN, b"x"], kind)
            file.create_dataset(f"chunked/{label}", data=np.array([LATIN, b"x"], kind), chunks=(1,))
            file.attrs[label] = np.array([LATIN], kind)
        file["str"] = np.array([ESCAPED], h5py.string_dtype())
        file.attrs["str"] = ESCAPED
        file["field"] = np.zeros(2, [(ESCAPED, "i4")])
        file["enum"] = np.zeros(2, h5py.enum_dtype({ESCAPED: 0}))
        with pytest.raises(errors.DatatypeError, match="beyond ASCII"):
            file.create_dataset("refused", data=np.array(["ü"], h5py.string_dtype("ascii")), chunks=(1,))
    with h5py.File(tmp_path / "a.h5") as found:
        for label in ("ascii", "utf-8"):
            for name in (label, f"chunked/{label}"):
                assert found[name][()].tolist() == [LATIN, b"x"]
        assert found["str"][0] == LATIN
        assert LATIN + b"\0" in (tmp_path / "a.h5").read_bytes()
        assert found.attrs["str"] == ESCAPED
        assert found["field"].id.get_type().get_member_name(0) == LATIN
        assert found["enum"].id.get_type().get_member_name(0) == LATIN


def test_names_that_are_not_utf8_survive_salvage_and_addition(tmp_path: Path) -> None:
    file = streamh5.File(tmp_path / "a.h5", resume=True)
    file.create_dataset(LATIN, data=np.arange(3), chunks=(1,)).attrs[LATIN] = 5
    file["soft"] = streamh5.SoftLink(ESCAPED)
    file.session.wait()
    file.suspend()
    streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as found:
        assert found[LATIN][()].tolist() == [0, 1, 2]
        assert found[LATIN].attrs[LATIN] == 5
        assert found.id.links.get_val(b"soft") == LATIN
    with h5py.File(tmp_path / "h.h5", "w", libver=("v110", "v110")) as other:
        other.create_group(LATIN).attrs[LATIN] = 5
        other.id.links.create_soft(b"soft", LATIN)
    with streamh5.File(tmp_path / "h.h5", "a") as file:
        file[LATIN + b"/new"] = 6
    with h5py.File(tmp_path / "h.h5") as found:
        assert found[LATIN]["new"][()] == 6
        assert found[LATIN].attrs[LATIN] == 5
        assert found.id.links.get_val(b"soft") == LATIN


@pytest.mark.parametrize("name", ["\ud800", "a\udfff"])
def test_surrogates_that_stand_for_no_byte_are_refused(name: str, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(errors.PathError, match="UTF-8"):
            file[name] = 1
        with pytest.raises(errors.AttributeValueError, match="UTF-8"):
            file.attrs[name] = 1
        with pytest.raises(errors.AttributeValueError, match="UTF-8"):
            file.attrs["a"] = name
        with pytest.raises(errors.StreamH5Error):
            file["soft"] = streamh5.SoftLink(name)
        with pytest.raises(errors.StreamH5Error):
            file["x"] = np.zeros(2, [(name, "i4")])
        assert list(file) == []
