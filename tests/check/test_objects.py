"""`verify` and `inspect` of objects in stores: what they find is what they find in a local file."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from s3fs import S3FileSystem

import streamh5
from streamh5.cli.main import main
from streamh5.errors import FileMissingError, SpecError, StoreError, UnreadableError
from streamh5.reader import object_source
from streamh5.reader.object_source import OBJECT_BLOCK_NBYTES, OBJECT_START_NBYTES
from streamh5.stores import attempts
from streamh5.stores.attempts import Attempts
from streamh5.stores.memory import MemoryStore
from tests.stores.memory_objects import as_object, new_url, noted_ranges
from tests.stores.servers import KEY, SECRET, S3Server

N_DATASETS = 200


def many_datasets(path: Path) -> Path:
    """Write 200 chunked datasets with attributes, 6 MiB in all."""
    with streamh5.File(path, "x") as file:
        datasets = []
        for i in range(N_DATASETS):
            name = f"group{i % 7}/x{i}"
            datasets.append(file.create_dataset(name, (64, 128), "u2", chunks=(16, 128), compression="gzip"))
            datasets[-1].attrs["units"] = "m"
            datasets[-1].attrs["number"] = i
        for i, dataset in enumerate(datasets):  # all are known when the first data arrives
            dataset[...] = np.random.default_rng(i).integers(0, 1 << 16, (64, 128), "u2")
    return path


def foreign(path: Path) -> Path:
    """Write a file with h5py whose metadata lies between and behind its data, with a filter that only HDF5 knows."""
    with h5py.File(path, "x", libver="earliest") as file:
        for i in range(4):
            data = np.random.default_rng(i).integers(0, 1 << 16, (512, 1024), "u2")
            dataset = file.create_dataset(f"x{i}", data=data, chunks=(64, 1024))
            dataset.attrs["number"] = i
        file.create_dataset("packed", data=np.arange(5000), chunks=(500,), scaleoffset=0)
    return path


@pytest.mark.parametrize("made", [many_datasets, foreign])
def test_reports_of_an_object_are_those_of_the_file(made: Any, tmp_path: Path) -> None:
    path = made(tmp_path / "a.h5")
    url = as_object(path)
    here, there = streamh5.verify(path), streamh5.verify(url)
    assert there.ok, there
    assert there.compared_with is not None
    assert replace(there, path=here.path, seconds=here.seconds, object_checksum=None) == here
    assert replace(streamh5.inspect(url), path=str(path)) == streamh5.inspect(path)


def test_inspect_of_200_datasets_makes_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = as_object(many_datasets(tmp_path / "a.h5"))
    ranges = noted_ranges(monkeypatch)
    found = streamh5.inspect(url)
    assert len(found.datasets) == N_DATASETS
    assert sum(one.n_attributes for one in found.datasets) == 2 * N_DATASETS
    assert ranges == [(0, OBJECT_START_NBYTES)]


def test_verify_reads_adjacent_chunks_of_many_datasets_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = many_datasets(tmp_path / "a.h5")
    url = as_object(path)
    ranges = noted_ranges(monkeypatch)
    assert streamh5.verify(url, with_h5py=False).ok
    assert len(ranges) <= 1 + path.stat().st_size // OBJECT_BLOCK_NBYTES + 1


def test_verify_reads_chunks_of_one_dataset_in_large_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    data = np.random.default_rng(0).integers(0, 1 << 8, (24, 1 << 20), "u1")
    with streamh5.File(path, "x") as file:
        file.create_dataset("x", data=data, chunks=(1, 1 << 18), compression=None)
    url = as_object(path)
    ranges = noted_ranges(monkeypatch)
    assert streamh5.verify(url, with_h5py=False).ok
    assert len(ranges) <= 1 + 2 + 24 // 8  # the first MiB ends inside a piece of 8 MiB


def test_damaged_chunk_of_an_object_is_reported_with_its_place(tmp_path: Path) -> None:
    path = many_datasets(tmp_path / "a.h5")
    content = bytearray(path.read_bytes())
    place = streamh5.read_references(path).manifest()["/group0/x196"].offsets[1]
    content[place : place + 40] = bytes(40)
    path.write_bytes(content)
    here, there = streamh5.verify(path), streamh5.verify(as_object(path))
    assert there.n_damaged_chunks == 1
    assert there.damaged_chunks == here.damaged_chunks


def test_object_that_is_replaced_while_it_is_checked_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = as_object(many_datasets(tmp_path / "a.h5"))
    read, n_reads = MemoryStore.read, []

    def replacing(self: MemoryStore, start: int, stop: int, version: str | None = None) -> bytes:
        n_reads.append(start)
        if len(n_reads) == 1:
            self.put(memoryview(bytes(10 << 20)), token="", if_absent=False)
        return read(self, start, stop, version)

    monkeypatch.setattr(MemoryStore, "read", replacing)
    for with_h5py in (False, True):
        n_reads.clear()
        with pytest.raises(UnreadableError, match=f"{url} has been replaced while it was read"):
            streamh5.verify(url, with_h5py=with_h5py)
        MemoryStore(url, {}).put(memoryview((tmp_path / "a.h5").read_bytes()), token="", if_absent=False)


def test_store_that_refuses_in_the_view_of_h5py_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = as_object(foreign(tmp_path / "a.h5"))
    monkeypatch.setattr(object_source, "OBJECT_BLOCK_NBYTES", 1 << 20)
    monkeypatch.setattr(object_source, "N_OBJECT_BLOCKS", 1)  # h5py reads nearly everything again
    with pytest.MonkeyPatch.context() as context:
        ranges = noted_ranges(context)
        streamh5.verify(url, with_h5py=False, data=False)
        n_own = len(ranges)
        streamh5.verify(url, data=False)
        assert len(ranges) > n_own + 3
    read, numbers = MemoryStore.read, iter(range(1000))

    def refused(self: MemoryStore, start: int, stop: int, version: str | None = None) -> bytes:
        if next(numbers) >= n_own + 1:
            raise StoreError("expired", reason="denied")
        return read(self, start, stop, version)

    monkeypatch.setattr(MemoryStore, "read", refused)
    with pytest.raises(UnreadableError, match="cannot be read: expired"):
        streamh5.verify(url, data=False)


def test_missing_object_is_a_file_not_found_error() -> None:
    for call in (streamh5.verify, streamh5.inspect, streamh5.read_references):
        with pytest.raises(FileMissingError, match=r"memory://.*out\.h5 does not exist"):
            call(new_url())


def test_store_that_stays_busy_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "ATTEMPTS", Attempts(3, 0.0, 0.0))
    n_requests = []

    def busy(self: MemoryStore, nbytes: int) -> object:
        n_requests.append(nbytes)
        raise StoreError("slow down", reason="transient")

    monkeypatch.setattr(MemoryStore, "read_start", busy)
    with pytest.raises(UnreadableError, match="slow down"):
        streamh5.inspect(new_url())
    assert len(n_requests) == 3


def test_storage_options_for_a_local_file_are_refused(tmp_path: Path) -> None:
    for call in (streamh5.verify, streamh5.inspect, streamh5.read_references):
        with pytest.raises(SpecError, match="are for the URL of an object"):
            call(tmp_path / "a.h5", storage_options={"anon": True})


def test_memory_objects_are_refused_in_a_child_process(tmp_path: Path) -> None:
    url = as_object(many_datasets(tmp_path / "a.h5"))
    with pytest.raises(StoreError, match="memory of one process"):
        streamh5.verify(url, safe=True)


def test_cli_verifies_and_inspects_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = as_object(many_datasets(tmp_path / "a.h5"))
    assert main(["verify", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == url
    assert main(["inspect", url]) == 0
    assert capsys.readouterr().out.startswith(url)
    assert main(["verify", new_url()]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("safe", [False, True])
def test_object_of_s3_is_verified_with_storage_options(
    safe: bool, tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = many_datasets(tmp_path / "a.h5")
    url = s3_server.url()
    S3FileSystem(**s3_server.options()).put_file(str(path), url)
    started = noted_commands(monkeypatch)
    found = streamh5.verify(url, safe=safe, storage_options=s3_server.options())
    here = streamh5.verify(path)
    assert replace(found, path=here.path, seconds=here.seconds, object_checksum=None) == here
    assert bool(started) == safe
    assert not any(secret in word for command in started for word in command for secret in (KEY, SECRET))


def noted_commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return a list that will hold the command line of each child process."""
    commands: list[list[str]] = []
    popen = subprocess.Popen

    def noted(command: list[str], **options: Any) -> Any:
        commands.append(command)
        return popen(command, **options)

    monkeypatch.setattr(subprocess, "Popen", noted)
    return commands


def test_wrong_credentials_are_no_damage_and_stay_secret(s3_server: S3Server) -> None:
    options = s3_server.options(endpoint_url="http://127.0.0.1:1")
    with pytest.MonkeyPatch.context() as context:
        context.setattr(attempts, "ATTEMPTS", Attempts(2, 0.0, 0.0))
        with pytest.raises(UnreadableError, match="cannot be read") as caught:
            streamh5.inspect(s3_server.url(), storage_options=options)
    for error in (caught.value, caught.value.__cause__):
        assert SECRET not in repr(error)


def test_cli_reads_objects_of_s3_with_storage_options(
    tmp_path: Path, s3_server: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    url = s3_server.url()
    S3FileSystem(**s3_server.options()).put_file(str(many_datasets(tmp_path / "a.h5")), url)
    given = [word for pair in s3_server.options().items() for word in ("--storage-option", "=".join(pair))]
    assert main(["verify", url, *given]) == 0
    assert main(["inspect", url, "--json", *given]) == 0
    assert main(["references", url, *given]) == 0
    assert SECRET not in capsys.readouterr().out
