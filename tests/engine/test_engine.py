"""The engine alone: whole files in a bytearray, and what it allows when."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.engine.engine import Engine, State
from streamh5.errors import PathError, StateError
from streamh5.model.attribute_spec import attribute_spec
from streamh5.model.chunk_records import chunk_records
from streamh5.model.dataset_spec import DatasetSpec
from streamh5.model.tree import DatasetNode
from streamh5.sinks.memory import MemorySink
from tests.readers import Reader
from tests.readers.protocol import assert_reads
from tests.written import GZIP, values


def spec(path: str = "/x", **keywords: Any) -> DatasetSpec:
    return DatasetSpec(path, (4, 6), np.dtype("<i4"), (2, 3), **keywords)


def store(engine: Engine, image: bytearray, dataset: DatasetNode, data: Any) -> None:
    """Put the four chunks of a dataset into the image."""
    for number, (i, j) in enumerate([(0, 0), (0, 3), (2, 0), (2, 3)]):
        chunk = np.ascontiguousarray(data[i : i + 2, j : j + 3]).tobytes()
        address = engine.reserve(len(chunk))
        put(image, address, chunk)
        sizes = np.array([len(chunk)], np.uint64)
        engine.record(dataset, chunk_records(np.array([number], np.uint64), address, sizes, None))


def put(image: bytearray, address: int, piece: bytes) -> None:
    image.extend(bytes(max(0, address + len(piece) - len(image))))
    image[address : address + len(piece)] = piece


def test_engine_builds_a_whole_file_in_a_bytearray(tmp_path: Path, reader: Reader) -> None:
    engine, image = Engine(), bytearray()
    dataset = engine.create_dataset(spec("/g/x"))
    engine.set_attribute(dataset, attribute_spec("units", "K", path="/g/x"))
    data = values("<i4", (4, 6))
    store(engine, image, dataset, data)
    for address, piece in engine.finish():
        put(image, address, piece)
    assert len(image) == engine.end_of_file
    (tmp_path / "a.h5").write_bytes(image)
    assert_reads(reader, tmp_path / "a.h5", "/g/x", data)
    with h5py.File(io.BytesIO(image)) as file:
        assert file["g/x"].attrs["units"] == "K"


def test_finish_yields_the_superblock_last_and_no_byte_twice() -> None:
    engine, image = Engine(), bytearray()
    dataset = engine.create_dataset(spec())
    store(engine, image, dataset, values("<i4", (4, 6)))
    pieces = list(engine.finish())
    assert pieces[-1][0] == 0
    assert all(address > 0 for address, _ in pieces[:-1])
    ranges = sorted((address, address + len(piece)) for address, piece in pieces)
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))
    assert ranges[-1][1] <= engine.end_of_file


def test_file_without_its_superblock_is_no_hdf5_file(tmp_path: Path) -> None:
    engine, image = Engine(), bytearray()
    dataset = engine.create_dataset(spec())
    store(engine, image, dataset, values("<i4", (4, 6)))
    for address, piece in list(engine.finish())[:-1]:
        put(image, address, piece)
        (tmp_path / "a.h5").write_bytes(image)
        with pytest.raises(OSError, match="file signature not found"):
            h5py.File(tmp_path / "a.h5")


CALLS: dict[str, Any] = {
    "create_group": lambda engine, _: engine.create_group("/new"),
    "create_dataset": lambda engine, _: engine.create_dataset(spec("/new")),
    "set_attribute": lambda engine, dataset: engine.set_attribute(dataset, attribute_spec("a", 1, path="/x")),
    "record": lambda engine, dataset: engine.record(
        dataset, chunk_records(np.array([0], np.uint64), 999, np.array([24], np.uint64), None)
    ),
    "extend": lambda engine, dataset: engine.extend(dataset, 3),
    "reserve": lambda engine, _: engine.reserve(8),
    "begin": lambda engine, _: engine.begin(),
    "finish": lambda engine, _: list(engine.finish()),
    "snapshot": lambda engine, _: list(engine.snapshot()),
}


@pytest.mark.parametrize("call", CALLS)
def test_every_call_is_allowed_while_defining_and_streaming_and_refused_after(call: str) -> None:
    for n_before in (0, 1):
        engine = Engine()
        dataset = engine.create_dataset(spec())
        for _ in range(n_before):
            engine.begin()
        CALLS[call](engine, dataset)
    finished = Engine()
    dataset = finished.create_dataset(spec())
    list(finished.finish())
    assert finished.state is State.FINISHED
    with pytest.raises(StateError, match="finished"):
        CALLS[call](finished, dataset)


def test_engine_that_failed_allows_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    dataset = engine.create_dataset(spec())
    engine.begin()
    monkeypatch.setattr("streamh5.engine.engine.encode_superblock", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(engine.finish())
    monkeypatch.undo()
    assert engine.state is State.FAILED
    for call in CALLS.values():
        with pytest.raises(StateError):
            call(engine, dataset)


def test_metadata_of_known_shapes_lies_before_the_first_chunk(tmp_path: Path) -> None:
    sink = MemorySink()
    with streamh5.File(sink) as file:
        for i in range(5):
            file.create_dataset(f"g/{i}", (3000,), "i4", chunks=(1,), **GZIP).attrs["units"] = "K"
        for i in range(5):
            file[f"g/{i}"][:] = np.arange(3000)  # type: ignore[index]
    front = file.session._engine._engine.front.end
    with h5py.File(io.BytesIO(sink.image)) as found:
        for i in range(5):
            dataset = found[f"g/{i}"]
            assert h5py.h5o.get_info(dataset.id).addr < front
            assert dataset.id.get_chunk_info(0).byte_offset >= front
            np.testing.assert_array_equal(dataset[()], np.arange(3000))
    # read through a file that holds nothing behind the front but zeros: all metadata is there
    cut = bytes(sink.image[:front]) + bytes(len(sink.image) - front)
    with h5py.File(io.BytesIO(cut)) as found:
        assert [found[f"g/{i}"].id.get_num_chunks() for i in range(5)] == [3000] * 5
        assert found["g/4"].attrs["units"] == "K"


def test_objects_created_after_the_first_data_go_to_the_end() -> None:
    sink = MemorySink()
    with streamh5.File(sink) as file:
        file.create_dataset("x", data=np.arange(10), chunks=(3,))
        file.create_dataset("late/y", data=np.arange(20), chunks=(3,), **GZIP)
        file["late"].attrs["n"] = 1
        file.create_group("empty")
    with h5py.File(io.BytesIO(sink.image)) as found:
        np.testing.assert_array_equal(found["x"][()], np.arange(10))
        np.testing.assert_array_equal(found["late/y"][()], np.arange(20))
        assert sorted(found) == ["empty", "late", "x"]
        assert found["late"].attrs["n"] == 1


@pytest.mark.parametrize("path", ["/x", "x", "/x/y", "//x//"])
def test_engine_refuses_a_path_that_is_taken(path: str) -> None:
    engine = Engine()
    engine.create_dataset(spec("/x"))
    with pytest.raises(PathError):
        engine.create_dataset(spec(path))
    with pytest.raises(PathError):
        engine.create_group(path)


def test_same_calls_give_the_same_bytes() -> None:
    images = []
    for _ in range(2):
        sink = MemorySink()
        with streamh5.File(sink, threads=1) as file:
            file.create_dataset("g/x", data=values("f4", (50, 40)), chunks=(7, 9), **GZIP).attrs["a"] = "b"
        images.append(bytes(sink.image))
    assert images[0] == images[1]
