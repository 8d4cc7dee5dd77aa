"""Paths of every form, and names of every length: what is written is where another program finds it."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

import streamh5
from streamh5 import errors
from streamh5.cli.main import main
from tests.written import traces

ONES = np.ones(4)


class BytesPath:
    """An `os.PathLike` of bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return os.fsencode(self.path)


FORMS: dict[str, Callable[[Path], Any]] = {
    "bytes": os.fsencode,
    "PathLike of bytes": BytesPath,
    "file URL": Path.as_uri,
    "file URL of localhost": lambda path: path.as_uri().replace("file://", "file://localhost"),
    "FILE URL": lambda path: path.as_uri().replace("file://", "FILE://"),
    "Path of a file URL": lambda path: Path(path.as_uri()),
}


def stream(path: Any) -> None:
    with streamh5.File(path) as file:
        file["x"] = ONES


def adding(path: Any) -> None:
    with streamh5.File(path, "a") as file:
        file["first"] = 1
    with streamh5.File(path, "a") as file:
        file["x"] = ONES


def interrupt(file: streamh5.File) -> None:
    """End the block of a file by Ctrl-C; what is stored stays."""
    with contextlib.suppress(KeyboardInterrupt), file:
        raise KeyboardInterrupt


WRITERS: dict[str, Callable[[Any], Any]] = {
    "File": stream,
    "mode a": adding,
    "to_fixed_h5": lambda path: streamh5.to_fixed_h5(path, "/x", da.ones(4)),
    "array": lambda path: da.ones(4).to_fixed_h5(path, "/x"),
    "to_netcdf": lambda path: streamh5.to_netcdf(xr.Dataset({"x": ("d", ONES)}), path),
    "to_netcdf a": lambda path: streamh5.to_netcdf(xr.Dataset({"x": ("d", ONES)}), path, "a"),
    "from_zarr": lambda path: streamh5.from_zarr(zarr.array(ONES), path, "/x"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", WRITERS)
def test_destination_of_every_form_is_written(how: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / "ä name #1 %20?.h5"
    WRITERS[how](FORMS[form](path))
    assert traces(tmp_path) == [path.name]
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["x"][...], ONES)


def test_destination_that_is_not_utf8_is_written(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.h5")
    for _ in range(2):
        with streamh5.File(path, "w", resume=True) as file:
            file.create_dataset("x", (4,), "f8", chunks=(2,))[...] = ONES
            file.checkpoint()
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xff\xfe.h5"]
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["x"][...], ONES)


@pytest.mark.parametrize("form", FORMS)
def test_every_function_takes_paths_of_every_form(form: str, tmp_path: Path) -> None:
    give = FORMS[form]
    path, other = tmp_path / "a.h5", tmp_path / "b.h5"
    with streamh5.File(give(path), references=give(tmp_path / "a.json")) as file:
        file.create_dataset("x", (4,), "f8", chunks=(2,))[...] = ONES
        snapshot = file.checkpoint(give(tmp_path / "snapshot.h5"))
        with h5py.File(snapshot) as read:
            np.testing.assert_array_equal(read["x"][...], ONES)
    assert json.loads((tmp_path / "a.json").read_text())["refs"]["x/0"][0] == str(path)
    assert streamh5.verify(give(path)).ok
    assert streamh5.inspect(give(path)).path == str(path)
    streamh5.read_references(give(path)).to_kerchunk(give(tmp_path / "b.json"))
    assert json.loads((tmp_path / "b.json").read_text())["refs"]["x/0"][0] == str(path)
    streamh5.convert(give(path), give(other))
    with h5py.File(other) as read:
        np.testing.assert_array_equal(read["x"][...], ONES)
    with pytest.raises(errors.SpecError, match="source itself"):
        streamh5.convert(give(path), give(path), overwrite=True)
    again = streamh5.File(give(path), "w", resume=True)
    again.create_dataset("x", (4,), "f8", chunks=(2,))[0:2] = ONES[:2]
    interrupt(again)
    streamh5.salvage(give(tmp_path / "a.h5.partial"), output=give(tmp_path / "saved.h5"))
    with h5py.File(tmp_path / "saved.h5") as read:
        assert read["x"][...].tolist() == [1, 1, 0, 0]


URLS = ["https://host/a.h5", "ftp://name:secret@host/a.h5", "hdfs://host/a.h5", "simplecache::s3://b/a.h5"]
DESTINATIONS = [*URLS, Path("https://host/a.h5"), b"https://host/a.h5"]


@pytest.mark.parametrize("url", DESTINATIONS, ids=str)
def test_url_of_another_kind_is_refused_before_any_work(
    url: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    n_computed = [0]

    def source(block: Any) -> Any:
        n_computed[0] += 1
        return block

    x = da.ones(4, chunks=1).map_blocks(source, dtype="f8", meta=np.empty(0))
    np.save("a.npy", ONES)
    calls: list[Callable[[], Any]] = [
        *(lambda mode=mode: streamh5.File(url, mode) for mode in ("w", "x", "a")),
        lambda: streamh5.to_fixed_h5(url, "/x", x),
        lambda: streamh5.to_fixed_h5(url, "/x", x, compute=False),
        lambda: streamh5.to_netcdf(xr.Dataset({"x": ("d", x)}), url),
        lambda: streamh5.to_netcdf(xr.Dataset({"x": ("d", x)}), url, "a"),
        lambda: streamh5.convert("a.npy", url),
        lambda: streamh5.File("b.h5", "w", references=url),
    ]
    for call in calls:
        with pytest.raises(errors.SpecError, match=r"is a URL.*upload") as caught:
            call()
        assert len(str(caught.value)) < 300
        assert "secret" not in str(caught.value)
    assert n_computed == [0]
    assert traces(tmp_path) == ["a.npy"]


def test_file_url_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.SpecError, match="machine 'host'"):
        streamh5.File(f"file://host{tmp_path}/a.h5")
    assert traces(tmp_path) == []


@pytest.mark.parametrize("url", ["file://a.h5", "FILE://a.h5", "file://", "file://localhost"])
def test_file_url_that_is_no_absolute_path_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(errors.SpecError, match="write file:///path"):
        streamh5.File(url)
    with pytest.raises(errors.SpecError, match="write file:///path"):
        streamh5.convert(url, tmp_path / "a.h5")


@pytest.mark.parametrize(
    "call", [streamh5.inspect, streamh5.verify, streamh5.read_references, streamh5.salvage]
)
@pytest.mark.parametrize(
    "given", [None, 5, io.BytesIO(), ["a.h5"]], ids=["None", "number", "file object", "list"]
)
def test_what_is_not_a_path_is_refused(call: Callable[[Any], Any], given: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.SpecError, match="a path is needed"):
        call(given)
    with pytest.raises(errors.SpecError, match="a path is needed"):
        streamh5.convert(given, tmp_path / "a.h5")


@pytest.mark.parametrize("call", [streamh5.inspect, streamh5.verify, streamh5.read_references])
def test_url_of_an_unknown_kind_is_refused(call: Callable[[Any], Any]) -> None:
    with pytest.raises(errors.SpecError, match=r"ftp:.*of a kind that streamh5 does not write"):
        call("ftp://host/a.h5")


@pytest.mark.parametrize("name", ["s3:/a.h5", "a:b.h5", "12:30.h5", "c:/d.h5"])
def test_local_name_with_a_colon_is_not_a_url(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    stream(name)
    with h5py.File(tmp_path / name) as read:
        np.testing.assert_array_equal(read["x"][...], ONES)


def long_name(n: int, ending: str = ".h5", letter: str = "n") -> str:
    name = letter * ((n - len(ending)) // len(os.fsencode(letter)))
    return name + "_" * (n - len(os.fsencode(name + ending))) + ending


NAMES = [long_name(n) for n in (230, 231, 232, 236, 239, 240, 254, 255)]
NAMES += [
    long_name(255, ""),
    long_name(255, letter="ä"),
    long_name(255, letter="語"),
    long_name(255, "." + 200 * "e"),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: f"{name[:1]}{len(os.fsencode(name))}")
def test_name_up_to_the_limit_of_the_file_system_is_written_resumed_and_salvaged(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / name

    def begin(mode: str) -> streamh5.File:
        file = streamh5.File(path, mode, resume=True)
        x = file.create_dataset("x", (4,), "f8", chunks=(2,))
        if not x.is_stored((0,), (2,)):
            x[0:2] = ONES[:2]
        return file

    file = begin("x")
    with pytest.raises(errors.DestinationBusyError):
        streamh5.File(path, "w")
    snapshot = file.checkpoint()
    with h5py.File(snapshot) as read:
        assert read["x"][...].tolist() == [1, 1, 0, 0]
    interrupt(file)
    with pytest.raises(errors.InterruptedWriteError, match=r"streamh5 salvage") as caught:
        streamh5.File(path, "x")
    partial = Path(str(caught.value.facts["path"]))
    assert partial.exists()
    for one in tmp_path.iterdir():
        os.fsencode(one.name).decode("utf-8")  # no character is cut
    with begin("x") as file:
        assert file.datasets["/x"].is_stored((0,), (2,))
        file.datasets["/x"][2:4] = ONES[2:]
    assert traces(tmp_path) == [name]
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["x"][...], ONES)
    interrupt(begin("w"))
    assert main(["salvage", str(partial), "--output", str(tmp_path / "saved.h5")]) == 0
    with h5py.File(tmp_path / "saved.h5") as read:
        assert read["x"][...].tolist() == [1, 1, 0, 0]
        assert name in read.attrs["streamh5_salvaged"]
    with streamh5.File(path, "a") as file:
        file["y"] = 2
    interrupt(begin("w"))
    salvaged = streamh5.salvage(partial)
    assert salvaged.interrupted == str(path)
    assert streamh5.verify(salvaged.path).ok
    snapshot.unlink(missing_ok=True)
    assert traces(tmp_path) == sorted([name, "saved.h5", Path(salvaged.path).name])


def test_two_long_names_with_one_beginning_are_two_writes(tmp_path: Path) -> None:
    paths = [tmp_path / f"{'n' * 250}{i}.h5" for i in range(2)]
    files = [streamh5.File(path) for path in paths]
    for i, file in enumerate(files):
        file["x"] = i
        file.close()
    for i, path in enumerate(paths):
        with h5py.File(path) as read:
            assert read["x"][()] == i


def test_references_with_a_long_name_are_written(tmp_path: Path) -> None:
    stream(tmp_path / "a.h5")
    for ending in (".json", ".parquet"):
        path = tmp_path / long_name(255, ending)
        for _ in range(2):
            streamh5.read_references(tmp_path / "a.h5").to_kerchunk(path, overwrite=True)
        assert path.exists()
    assert len(traces(tmp_path)) == 3


@pytest.mark.parametrize("mode", ["w", "x", "a"])
def test_name_beyond_the_limit_is_our_error(mode: str, tmp_path: Path) -> None:
    with pytest.raises(errors.SinkError, match="name too long"):
        streamh5.File(tmp_path / long_name(256), mode)
    with pytest.raises(errors.SinkError, match="name too long"):
        streamh5.to_fixed_h5(tmp_path / long_name(256), "/x", da.ones(4))
    assert traces(tmp_path) == []
