"""`verify` and `inspect` of files written by other programs, compared with what h5py reads from them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import pytest

import streamh5
from streamh5.cli.main import main
from streamh5.errors import FormatError, StreamH5Error
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_content import read_file_content
from tests.foreign_files import BUILDERS
from tests.source_packages import hdf5_files

NOT_CHECKED = {
    "shared_messages": "indexes of shared object header messages",
    "deleted": "to which no path leads",
}
"""What is reported as not checked in files of `BUILDERS`. All other files are checked completely."""


def seen_by_h5py(path: Path) -> dict[int, Any]:
    """Return each object to which hard links lead, by the address of its header."""
    seen: dict[int, Any] = {}
    with h5py.File(path) as file:
        pending: list[Any] = [h5py.h5o.open(file.id, b"/")]
        while pending:
            one = pending.pop()
            address = h5py.h5o.get_info(one).addr
            if address in seen:
                continue
            attributes = {h5py.h5a.open(one, index=i).name for i in range(h5py.h5a.get_num_attrs(one))}
            found: dict[str, Any] = {"attributes": attributes, "kind": type(one).__name__}
            if isinstance(one, h5py.h5g.GroupID):
                names = list(one)
                found["links"] = set(names)
                hard = [name for name in names if one.links.get_info(name).type == h5py.h5l.TYPE_HARD]
                pending += [h5py.h5o.open(one, name) for name in hard]
            elif isinstance(one, h5py.h5d.DatasetID):
                found["shape"] = (
                    one.shape if one.get_space().get_simple_extent_type() != h5py.h5s.NULL else None
                )
                found["datatype"] = one.get_type().get_class()
            seen[address] = found
    return seen


def datatype_class_id(body: bytes) -> int:
    """Return the class that HDF5 reports: it counts variable-length strings as strings."""
    is_text = body[0] & 15 == h5py.h5t.VLEN and body[1] & 15 == 1
    return h5py.h5t.STRING if is_text else body[0] & 15


def seen_by_reader(path: Path) -> dict[int, Any]:
    def text(name: str) -> bytes:
        return name.encode(errors="surrogateescape")

    with FileBytes(path) as file:
        content = read_file_content(file)
    seen: dict[int, Any] = {}
    for group in content.groups:
        links = {text(link.name) for link in group.messages.links}
        seen[group.address] = {"kind": "GroupID", "links": links}
    for dataset in content.datasets:
        messages = dataset.messages
        shape = messages.dataspace.shape
        seen[dataset.address] = {
            "kind": "DatasetID",
            "shape": shape,
            "datatype": datatype_class_id(messages.datatype_body),
        }
    for datatype in content.datatypes:
        seen[datatype.address] = {"kind": "Type"}
    objects: list[Any] = [*content.groups, *content.datasets, *content.datatypes]
    for one in objects:
        seen[one.address]["attributes"] = {
            text(attribute.name) for attribute in one.messages.common.attributes
        }
    return seen


@pytest.mark.parametrize("name", BUILDERS)
def test_verify_of_a_foreign_file_is_ok_and_sees_what_h5py_sees(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"{name}.h5"
    BUILDERS[name](path)
    report = streamh5.verify(path)
    assert not report.damaged, report
    if name in NOT_CHECKED:
        assert all(NOT_CHECKED[name] in one.problem for one in report.unchecked)
    assert report.ok != (name in NOT_CHECKED), report
    assert main(["verify", str(path)]) == (2 if name in NOT_CHECKED else 0)
    assert main(["inspect", str(path)]) == 0
    assert path.name in capsys.readouterr().out
    theirs, ours = seen_by_h5py(path), seen_by_reader(path)
    for one in theirs.values():
        if one["kind"].startswith("Type"):
            one["kind"] = "Type"
    assert ours == theirs


@pytest.mark.parametrize("nbytes", [512, 4096])
def test_inspect_behind_a_user_block_says_positions_in_the_file(tmp_path: Path, nbytes: int) -> None:
    path = tmp_path / "x.h5"
    BUILDERS[f"userblock_{nbytes}"](path)
    found = {one.path: one for one in streamh5.inspect(path).datasets}
    with h5py.File(path) as file:
        assert found["/contiguous"].data_start == file["contiguous"].id.get_offset()
        chunked = file["chunked"].id
        positions = [chunked.get_chunk_info(i).byte_offset for i in range(chunked.get_num_chunks())]
        assert found["/chunked"].data_start == min(positions)
    regions = streamh5.inspect(path).regions
    assert (regions[0].kind, regions[0].nbytes) == ("user block", nbytes)
    assert sum(region.nbytes for region in regions) == path.stat().st_size


def test_verify_of_a_file_put_behind_a_user_block_afterwards_is_ok(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    BUILDERS["libver_earliest"](path)
    path.write_bytes(bytes(1024) + path.read_bytes())
    assert streamh5.verify(path).ok


def test_verify_of_a_file_open_for_writing_says_so_and_checks_the_rest(tmp_path: Path) -> None:
    path, copy = tmp_path / "swmr.h5", tmp_path / "copy.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("x", (10,), "i4", chunks=(2,), maxshape=(None,))
        file.swmr_mode = True
        data[:] = 1
        data.flush()
        shutil.copy(path, copy)
    report = streamh5.verify(copy)
    assert (report.damaged, report.complete, report.n_decoded_chunks) == (False, False, 5)
    assert "open for writing" in report.unchecked[0].problem
    assert streamh5.verify(path).ok


def test_unfiltered_edge_chunks_decode_as_h5py_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    BUILDERS["unfiltered_edges"](path)
    report = streamh5.verify(path)
    assert (report.ok, report.n_decoded_chunks) == (True, 12)
    with FileBytes(path) as file, h5py.File(path) as seen:
        for dataset in read_file_content(file).datasets:
            assert dataset.chunks is not None
            chunks = dataset.chunks.chunk_map
            for row in range(len(chunks)):
                info = seen[dataset.path].id.get_chunk_info_by_coord(chunks.origin_at(row))
                is_raw = info.size == 4 * 4 * 4 and 4 in chunks.origin_at(row)
                assert bool(chunks.filter_masks[row]) == is_raw


def test_damage_in_a_file_of_the_old_format_ends_with_1(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    BUILDERS["libver_earliest"](path)
    good = path.read_bytes()
    path.write_bytes(good.replace(b"SNOD", b"SNOX", 1))
    assert [main([command, str(path)]) for command in ("verify", "inspect")] == [1, 1]
    path.write_bytes(good[: len(good) // 2])
    assert [main([command, str(path)]) for command in ("verify", "inspect")] == [1, 1]


def copies(path: Path, folder: Path) -> bool:
    """Return whether h5repack copies a file, and h5py finds and reads everything in it."""
    target = folder / "copy.h5"
    target.unlink(missing_ok=True)
    done = subprocess.run(["h5repack", path, target], check=False, capture_output=True, timeout=120)
    if done.returncode:
        return False
    try:
        with h5py.File(path) as file:

            def visit(name: str, node: Any) -> None:
                dict(node.attrs)
                if isinstance(node, h5py.Dataset) and node.size and node.size < 1_000_000:
                    node[()]

            file.visititems(visit)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError):
        return False
    return True


@pytest.mark.campaign
def test_hdf5s_own_test_files_are_damaged_only_where_hdf5_cannot_copy_them(tmp_path: Path) -> None:
    wrong = []
    for path in hdf5_files():
        try:
            streamh5.inspect(path)
            report = streamh5.verify(path, progress=False)
        except FormatError as error:
            problem = (
                None
                if "one of several parts" in str(error) or "image of a cache" in str(error)
                else str(error)
            )
        except StreamH5Error as error:
            problem = f"another error: {error!r}"
        else:
            problem = repr(report) if report.damaged else None
        if problem is not None and copies(path, tmp_path):
            wrong.append(f"{path.name}: {problem}")
    assert wrong == []
