"""References of objects in stores, and references that are written to stores, as zarr reads them through fsspec."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem
from s3fs import S3FileSystem
from zarr.storage import FsspecStore

import streamh5
from streamh5.cli.main import main
from streamh5.errors import DestinationExistsError, SpecError, UnreadableError
from streamh5.reader.object_source import OBJECT_START_NBYTES
from streamh5.references import from_file
from streamh5.references.from_h5py import read_with_h5py
from streamh5.stores.memory import MemoryStore
from tests.foreign_files import BUILDERS
from tests.stores.memory_objects import as_object, new_url, noted_ranges, objects_at
from tests.stores.servers import S3Server

DATA = np.random.default_rng(3).integers(0, 1 << 16, (600, 1000), "u2")


def written(path: Path) -> Path:
    with streamh5.File(path, "x") as file:
        dataset = file.create_dataset("a/x", DATA.shape, "u2", chunks=(100, 1000), compression="gzip")
        small = file.create_dataset("small", (5,), "f8", chunks=(5,))
        file.attrs["run"] = 7
        dataset[...] = DATA
        small[...] = np.arange(5)
    return path


def read(references: Any, array: str, protocol: str = "memory", options: dict[str, Any] | None = None) -> Any:
    """All elements of an array, as zarr reads them; references and file both lie in one store."""
    protocols = {"remote_protocol": protocol, "target_protocol": protocol}
    given = {
        "remote_options": {**options, "asynchronous": True} if options else {},
        "target_options": options,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas and zarr, about their future
        system = fsspec.filesystem("reference", fo=references, asynchronous=True, **protocols, **given)
        store = FsspecStore(system, read_only=True, path="")
        return zarr.open_array(store, path=array, mode="r", zarr_format=2)[...]


def test_references_of_an_object_name_it_and_are_those_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5")
    url = as_object(path)
    found = streamh5.read_references(url)
    assert found.url == url
    assert found.to_kerchunk() == streamh5.read_references(path, url=url).to_kerchunk()
    np.testing.assert_array_equal(read(found.to_kerchunk(), "a/x"), DATA)


def test_references_of_an_object_are_made_of_its_metadata_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = as_object(written(tmp_path / "a.h5"))
    ranges = noted_ranges(monkeypatch)
    streamh5.read_references(url).to_kerchunk()
    assert ranges == [(0, OBJECT_START_NBYTES)]


def test_inlined_data_of_an_object_is_read_from_it(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5")
    found = streamh5.read_references(as_object(path), url="x").to_kerchunk(inline=1000)
    assert found == streamh5.read_references(path, url="x").to_kerchunk(inline=1000)
    assert found is not None
    assert str(found["refs"]["small/0"]).startswith("base64:")


def test_object_that_only_h5py_can_read_has_the_references_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    BUILDERS["small_addresses"](path)
    url = as_object(path)
    found = streamh5.read_references(url).to_kerchunk(skip=True)
    assert found == streamh5.read_references(path, url=url).to_kerchunk(skip=True)


def test_object_that_is_replaced_before_h5py_reads_it_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    BUILDERS["small_addresses"](tmp_path / "a.h5")
    url, content = as_object(tmp_path / "a.h5"), (tmp_path / "a.h5").read_bytes()

    def replaced(*asked: Any) -> Any:
        MemoryFileSystem().pipe_file(url, content)
        return read_with_h5py(*asked)

    monkeypatch.setattr(from_file, "read_with_h5py", replaced)
    with pytest.raises(UnreadableError, match=f"{url} has been replaced while it was read"):
        streamh5.read_references(url)


@pytest.mark.parametrize("name", ["out.json", "out.parquet"])
def test_references_are_written_to_a_url_and_read_from_it(name: str, tmp_path: Path) -> None:
    found = streamh5.read_references(as_object(written(tmp_path / "a.h5")))
    url = new_url(name)
    assert found.to_kerchunk(url) is None
    np.testing.assert_array_equal(read(url, "a/x"), DATA)


def test_parquet_metadata_is_the_last_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puts, put = [], MemoryStore.put

    def noted(self: MemoryStore, content: memoryview, **how: Any) -> None:
        puts.append(self.url)
        put(self, content, **how)

    monkeypatch.setattr(MemoryStore, "put", noted)
    url = new_url("out.parquet")
    streamh5.read_references(written(tmp_path / "a.h5")).to_kerchunk(f"{url}/")
    assert puts == [f"{url}/a/x/refs.0.parq", f"{url}/small/refs.0.parq", f"{url}/.zmetadata"]


@pytest.mark.parametrize("name", ["out.json", "out.parquet"])
def test_references_at_a_url_are_replaced_only_when_asked(name: str, tmp_path: Path) -> None:
    url = new_url(name)
    first, second = (
        streamh5.read_references(written(tmp_path / f"{i}.h5"), url=f"memory://{i}.h5") for i in range(2)
    )
    first.to_kerchunk(url)
    there = objects_at(url)
    with pytest.raises(DestinationExistsError, match=f"{url} exists; pass overwrite=True"):
        second.to_kerchunk(url)
    assert objects_at(url) == there
    second.to_kerchunk(url, overwrite=True)
    assert objects_at(url) != there


@pytest.mark.parametrize("name", ["out.json", "out.parquet"])
def test_references_that_appear_meanwhile_are_not_replaced(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_url(name)
    found = streamh5.read_references(written(tmp_path / "a.h5"))
    found.to_kerchunk(url)
    there = objects_at(url)
    monkeypatch.setattr(MemoryStore, "head", lambda self: None)
    with pytest.raises(DestinationExistsError, match=r"exists; pass overwrite=True"):
        streamh5.read_references(written(tmp_path / "b.h5")).to_kerchunk(url)
    assert objects_at(url) == there


def test_writer_leaves_references_at_a_url(tmp_path: Path) -> None:
    url = new_url("out.json")
    with streamh5.File(tmp_path / "a.h5", "x", references=url) as file:
        file.create_dataset("x", data=DATA, chunks=(100, 1000))
    made = json.loads(MemoryFileSystem().cat(url))
    assert made["refs"]["x/0.0"][0] == str(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory://bucket/out.txt", SpecError),
        ("memory://bucket/out.json/", SpecError),
        ("ftp://host/out.json", SpecError),
        ("s3://key:secret@bucket/out.json", SpecError),
    ],
)
def test_wrong_url_for_references_is_refused_before_any_work(
    url: str, expected: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(expected) as caught:
        streamh5.File(tmp_path / "a.h5", "x", references=url)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_existing_references_at_a_url_are_refused_before_any_work(tmp_path: Path) -> None:
    url = new_url("out.json")
    MemoryFileSystem().pipe_file(url, b"{}")
    with pytest.raises(DestinationExistsError):
        streamh5.File(tmp_path / "a.h5", "x", references=url)
    assert list(tmp_path.iterdir()) == []


def test_cli_reads_and_writes_references_at_urls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, out = as_object(written(tmp_path / "a.h5")), new_url("out.json")
    assert main(["references", url]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == streamh5.read_references(url).to_kerchunk()
    assert main(["references", url, "--output", out]) == 0
    assert json.loads(MemoryFileSystem().cat(out)) == printed
    assert main(["references", str(tmp_path / "a.h5"), "--output", out]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["references", str(tmp_path / "a.h5"), "--storage-option", "anon=true"]) == 2
    assert "are for the URL of an object" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["out.json", "out.parquet"])
def test_file_and_references_are_written_to_s3_and_read_from_it(name: str, s3_server: S3Server) -> None:
    url, out, options = s3_server.url(), s3_server.url(name), s3_server.options()
    with streamh5.File(url, "x", references=out, storage_options=options) as file:
        file.create_dataset("x", data=DATA, chunks=(100, 1000), compression="gzip")
    np.testing.assert_array_equal(read(out, "x", "s3", options), DATA)


def test_references_of_a_local_file_go_to_s3_with_the_storage_options(
    tmp_path: Path, s3_server: S3Server
) -> None:
    out, options = s3_server.url("out.json"), s3_server.options()
    with streamh5.File(tmp_path / "a.h5", "x", references=out, storage_options=options) as file:
        file.create_dataset("x", data=DATA, chunks=(100, 1000))
    made = json.loads(S3FileSystem(**options).cat(out))
    assert file.summary is not None
    assert made == file.summary.to_kerchunk()


def test_values_of_an_object_are_inlined_after_the_write(s3_server: S3Server) -> None:
    url, options = s3_server.url(), s3_server.options()
    with streamh5.File(url, "x", storage_options=options) as file:
        file.create_dataset("small", data=np.arange(5.0), chunks=(5,))
    assert file.summary is not None
    made = file.summary.to_kerchunk(inline=100, storage_options=options)
    assert made is not None
    assert made["refs"]["small/0"].startswith("base64:")
