"""`convert(..., resume=True)`: what is stored is not read again, and the file is that of an undisturbed conversion."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from scipy.io import netcdf_file

import streamh5
from streamh5.dask.shared_dataset import nested_files
from streamh5.errors import DestinationExistsError, ResumeError, SpecError
from streamh5.recovery.journaled_engine import JournaledEngine
from streamh5.recovery.read_journal import decode_journal
from tests.conversion.elsewhere import write_zoo_of_sources
from tests.conversion.test_convert import convert, h5diff, write_zoo
from tests.conversion.test_convert_hdf5 import header
from tests.conversion.zarr.stores import field, make
from tests.deadlock import DEADLOCK_SECONDS
from tests.stores.empty_memory import empty_memory

ROOT = Path(__file__).parents[2]

SMALL = 1 << 12
"""Size of blocks, so that small files have many; a dataset without chunks gets chunks of at most that size."""


@pytest.fixture
def memory_objects() -> Iterator[Any]:
    """fsspec's memory; no upload is left at the end."""
    with empty_memory() as system:
        yield system


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamh5.dask.stored_chunks.BLOCK_NBYTES", SMALL)
    monkeypatch.setattr("streamh5.conversion.hdf5.chunk_reader.PIECE_READ_NBYTES", SMALL)


PROGRAM = """
    import json, os, signal, sys, threading
    import streamh5
    from streamh5.conversion.hdf5 import chunk_reader
    from streamh5.conversion.hdf5.dataset import RegionReader
    from streamh5.dask import stored_chunks
    from streamh5.recovery.journaled_engine import JournaledEngine

    stored_chunks.BLOCK_NBYTES = chunk_reader.PIECE_READ_NBYTES = 1 << 12
    how, source, path, seen, stop, keywords = *sys.argv[1:5], int(sys.argv[5]), json.loads(sys.argv[6])
    lock, n, log = threading.Lock(), 0, os.open(seen, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    read, read_region = chunk_reader.StoredChunkReader.read, RegionReader.__call__
    claim = JournaledEngine.claim_part

    def note(path, region):
        os.write(log, json.dumps([path, [[part.start, part.stop] for part in region]]).encode() + b"\\n")

    def noted_read(self, coords):
        for one in coords:
            note(self.path, self.chunks.grid.region(tuple(map(int, one))))
        return read(self, coords)

    def noted_read_region(self, region):
        note(self.dataset.path, region)
        return read_region(self, region)

    def counted_claim(self, node, records, *args, **kwargs):
        global n
        claim(self, node, records, *args, **kwargs)
        with lock:
            before, n = n, n + len(records)
        if before < stop <= n:
            os.kill(os.getpid(), getattr(signal, how))

    chunk_reader.StoredChunkReader.read = noted_read
    RegionReader.__call__ = noted_read_region
    JournaledEngine.claim_part = counted_claim
    print(json.dumps(streamh5.convert(source, path, progress=False, **keywords).to_dict()))
"""


def start(how: str, source: Path, path: Path, stop: int, keywords: dict[str, Any]) -> Any:
    """Convert in a process that gets a signal when so many chunks were claimed, never with 0."""
    program, seen = textwrap.dedent(PROGRAM), path.with_suffix(".seen")
    return subprocess.run(
        [sys.executable, "-c", program, how, source, path, seen, str(stop), json.dumps(keywords)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
        check=False,
    )


def claimed_chunks(path: Path) -> dict[str, set[int]]:
    """The numbers of the chunks of each dataset that the journal of an interrupted conversion claims."""
    journal = decode_journal(Path(f"{path}.partial.journal").read_bytes())
    assert journal is not None
    return {
        journal.datasets[number]["path"]: {
            int(one) for records in claims.records for one in records["number"]
        }
        for number, claims in journal.claims.items()
    }


def touches(shape: Any, chunks: Any, numbers: set[int], region: list[list[int]]) -> bool:
    """Whether a region has an element of a chunk which is not among those of these numbers."""
    counts = [-(-n // c) for n, c in zip(shape, chunks, strict=True)]
    ranges = [range(a // c, -(-b // c)) for (a, b), c in zip(region, chunks, strict=True)]
    found = np.ravel_multi_index(np.meshgrid(*ranges, indexing="ij"), counts).ravel().tolist()
    return not numbers.issuperset(found)


def stored_chunks_of(path: Path) -> dict[str, Any]:
    """Filter mask and bytes of every chunk by dataset and offset; text, whose chunks hold addresses, as values."""
    found: dict[str, Any] = {}

    def visit(name: str, one: Any) -> None:
        if isinstance(one, h5py.Dataset) and one.chunks and one.dtype.kind != "O":
            infos = [one.id.get_chunk_info(i).chunk_offset for i in range(one.id.get_num_chunks())]
            found[name] = {offset: one.id.read_direct_chunk(offset) for offset in infos}
        elif isinstance(one, h5py.Dataset) and one.chunks:
            found[name] = one[()].tolist()

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def assert_same(resumed: Path, undisturbed: Path) -> None:
    """Every object, attribute, link, reference, value and stored chunk is the same, and every byte has its place."""
    assert header(resumed) == header(undisturbed)
    assert stored_chunks_of(resumed) == stored_chunks_of(undisturbed)
    assert h5diff(resumed, undisturbed) == ""
    assert streamh5.verify(resumed).ok
    assert not Path(f"{resumed}.partial").exists()


def write_source(path: Path) -> None:
    """Write objects of every kind, and an array of 200 chunks."""
    write_zoo(path)
    write_big(path)


def write_big(path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 50, (400, 300)).astype("f8")
    with h5py.File(path, "a") as file:
        file.create_dataset("big", data=values, chunks=(20, 30), compression="gzip", shuffle=True)
        texts = np.array([f"text {i} é" for i in range(3000)], object)
        file.create_dataset("z/more texts", data=texts, chunks=(100,), compression="gzip")


KINDS: dict[str, tuple[Callable[[Path], None], dict[str, Any], int]] = {
    "copied": (write_source, {}, 150),
    "copied by dask": (write_source, {"scheduler": "threads", "max_memory": "1 GB"}, 150),
    "verified": (write_source, {"verify": True, "page": True}, 60),
    "other filter": (write_source, {"compression": "gzip", "compression_opts": 9}, 150),
    "other chunks": (write_source, {"chunks": [7, 33]}, 300),
    "other chunks by dask": (write_source, {"chunks": [7, 33], "max_memory": "1 GB"}, 300),
    "cloud": (write_source, {"cloud": True}, 6),
    "outside data": (
        write_zoo_of_sources,
        {"chunks": {"/external": [500], "/x": [5, 7], "/virtual": [3, 5]}},
        120,
    ),
}


@pytest.mark.parametrize(
    ("kind", "is_late"),
    [*((kind, True) for kind in KINDS), ("copied", False), ("other chunks by dask", False)],
)
def test_killed_conversion_is_resumed_without_reading_again_what_is_stored(
    tmp_path: Path, hdf5_tools: None, kind: str, is_late: bool
) -> None:
    write, keywords, late = KINDS[kind]
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    write(source)
    undisturbed = start("", source, tmp_path / "undisturbed.h5", 0, keywords)
    assert undisturbed.returncode == 0, undisturbed.stderr
    # a write that was begun without resume can be resumed, too
    killed = start("SIGKILL", source, path, late if is_late else 1, keywords | {"resume": is_late})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not path.exists()
    claimed = claimed_chunks(path)
    assert sum(map(len, claimed.values())) >= (late if is_late else 1)
    path.with_suffix(".seen").unlink()

    resumed = start("", source, path, 0, keywords | {"resume": True})
    assert resumed.returncode == 0, resumed.stderr
    assert_same(path, tmp_path / "undisturbed.h5")
    arrays = {one["path"]: one for one in json.loads(resumed.stdout)["arrays"]}
    assert {name: one["n_resumed"] for name, one in arrays.items() if one["n_resumed"]} == {
        name: len(numbers) for name, numbers in claimed.items()
    }
    with h5py.File(path) as file:
        assert {name: file[name].id.get_num_chunks() for name, one in arrays.items() if one["is_copied"]} == {
            name: one["n_copied"] + one["n_resumed"] for name, one in arrays.items() if one["is_copied"]
        }
        for line in path.with_suffix(".seen").read_text().splitlines():
            name, region = json.loads(line)
            one = file[name]
            if one.chunks and math.prod(one.shape):
                assert touches(one.shape, one.chunks, claimed.get(name, set()), region), (name, region)


@pytest.mark.parametrize("kind", ["hdf5", "zarr", "npy"])
def test_block_that_is_stored_in_part_writes_only_what_is_missing(
    tmp_path: Path, hdf5_tools: None, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("streamh5.dask.stored_chunks.BLOCK_NBYTES", 1 << 20)
    monkeypatch.setattr("streamh5.write.chunk_writer.BATCH_NBYTES", SMALL)  # what is claimed together
    path = tmp_path / "out.h5"
    if kind == "hdf5":
        source = tmp_path / "in.h5"
        write_big(source)
    else:
        source = (zarr_source if kind == "zarr" else npy_source)(tmp_path)
    keywords: dict[str, Any] = {"chunks": (16, 30)}
    interrupt(source, path, 7, **keywords)
    n_claimed = max(map(len, claimed_chunks(path).values()))
    written = 0
    claim = JournaledEngine.claim_part

    def count(self: JournaledEngine, node: Any, records: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal written
        written += len(records)
        claim(self, node, records, *args, **kwargs)

    monkeypatch.setattr(JournaledEngine, "claim_part", count)
    done = convert(source, path, resume=True, scheduler="synchronous", **keywords)
    assert written == done.summary.n_chunks - n_claimed
    convert(source, tmp_path / "undisturbed.h5", **keywords)
    assert_same(path, tmp_path / "undisturbed.h5")


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT"])
def test_signal_leaves_what_a_resume_completes(tmp_path: Path, hdf5_tools: None, how: str) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    write_source(source)
    stopped = start(how, source, path, 100, {"resume": True})
    assert stopped.returncode in (-signal.SIGTERM, -signal.SIGINT, 1), stopped.stderr
    assert not path.exists()
    n_stored = sum(map(len, claimed_chunks(path).values()))
    resumed = start("", source, path, 0, {"resume": True})
    assert sum(one["n_resumed"] for one in json.loads(resumed.stdout)["arrays"]) == n_stored >= 100
    start("", source, tmp_path / "undisturbed.h5", 0, {})
    assert_same(path, tmp_path / "undisturbed.h5")


class StoppedError(Exception):
    """The end of a conversion that the test stops."""


def interrupt(source: Path, path: Any, n_chunks: int = 3, **keywords: Any) -> None:
    """Convert until so many chunks were claimed."""
    claim, n = JournaledEngine.claim_part, 0

    def stop(self: JournaledEngine, node: Any, records: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal n
        claim(self, node, records, *args, **kwargs)
        n += len(records)
        if n >= n_chunks:
            raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JournaledEngine, "claim_part", stop)
        with pytest.raises(StoppedError):
            convert(source, path, resume=True, scheduler="synchronous", **keywords)


def left(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in path.parent.glob(f"{path.name}*")}


def refused(source: Path, path: Path, match: str, **keywords: Any) -> None:
    """Assert that a resume is refused, before anything is written, and that what was stored is kept."""
    before = left(path)
    with pytest.raises(ResumeError, match=match) as caught:
        convert(source, path, resume=True, **keywords)
    assert "overwrite=True" in str(caught.value)
    assert len(str(caught.value)) <= 300
    assert left(path) == before


def test_source_that_changed_meanwhile_is_refused(tmp_path: Path, hdf5_tools: None) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    write_source(source)
    interrupt(source, path)
    status = source.stat()
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    refused(source, path, r"in\.h5 had [\d,]+ bytes of .*UTC, now [\d,]+ bytes of")
    with source.open("ab") as file:
        file.write(b"\0")
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    refused(source, path, rf"had {status.st_size:,} bytes of .*, now {status.st_size + 1:,} bytes")
    source.rename(tmp_path / "moved.h5")
    refused(tmp_path / "moved.h5", path, r"in\.h5 was read; .*moved\.h5 was not read")
    os.truncate(tmp_path / "moved.h5", status.st_size)
    os.utime(tmp_path / "moved.h5", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "moved.h5").rename(source)
    assert convert(source, path, resume=True).arrays
    convert(source, tmp_path / "undisturbed.h5")
    assert_same(path, tmp_path / "undisturbed.h5")


DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "dtype": {"dtype": "i4"},
    "shape": {"shape": (400, 301)},
    "chunks": {"chunks": (20, 31)},
    "filters": {"compression": "lzf"},
    "fillvalue": {"fillvalue": 3},
}


@pytest.mark.parametrize("what", DESCRIPTIONS)
def test_source_with_another_description_is_refused_whatever_its_size_and_time(
    tmp_path: Path, what: str
) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    usual = {"shape": (400, 300), "dtype": "f4", "chunks": (20, 30), "compression": "gzip"}
    for keywords in (usual, usual | DESCRIPTIONS[what]):
        with h5py.File(source, "w") as file:
            file.create_dataset("x", **keywords)[...] = 1
        os.truncate(source, 1 << 20)  # HDF5 allows bytes behind the end
        os.utime(source, ns=(0, 10**18))
        if keywords is usual:
            interrupt(source, path)
    with pytest.raises(ResumeError, match=rf"for /x, .*{what} was"):
        convert(source, path, resume=True)
    assert not path.exists()


@pytest.mark.parametrize(
    ("other", "match"),
    [
        ({"chunks": (40, 30)}, r"chunks was None and is \[40, 30\]"),
        (
            {"compression": "gzip", "compression_opts": 9},
            "compression was 'keep' and is 'gzip'; compression_opts was",
        ),
        ({"copy": False}, "copy was None and is False"),
        ({"verify": True}, "verify was False and is True"),
        ({"cloud": True, "page": False}, "cloud was False and is True"),
        ({"libver": "v108"}, "libver was 'v110' and is 'v108'"),
        ({"page": True}, "page was False and is True"),
    ],
)
def test_other_options_are_refused(tmp_path: Path, other: dict[str, Any], match: str) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    write_source(source)
    interrupt(source, path)
    if (
        "libver" in other or "page" in other
    ):  # compared for every write, which notes in the journal that it is resumed
        with pytest.raises(ResumeError, match=match):
            convert(source, path, resume=True, **other)
    else:
        refused(source, path, match, **other)
    convert(source, path, resume=True)
    assert h5diff(source, path) == ""


def test_paths_of_chunks_may_be_bytes(tmp_path: Path) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    write_big(source)
    asked: Any = {b"/big": (40, 30)}
    interrupt(source, path, chunks=asked)
    assert convert(source, path, resume=True, chunks={"/big": (40, 30)}).arrays[0].n_resumed
    with h5py.File(path) as file:
        assert file["big"].chunks == (40, 30)


def test_empty_name_is_an_option_like_others(tmp_path: Path) -> None:
    source, path = tmp_path / "in.zarr", tmp_path / "out.h5"
    zarr.open_group(source, mode="w")
    make(source / "x", field((160, 90)), (8, 9))
    interrupt(source, path, name="")
    refused(source, path, r"name was '' and is 'run'", name="run")


def test_finished_file_is_not_touched_and_without_an_interrupted_one_all_is_done(tmp_path: Path) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    write_source(source)
    done = convert(source, path, resume=True, scheduler="synchronous")
    assert not any(one.n_resumed for one in done.arrays)
    convert(source, tmp_path / "plain.h5", scheduler="synchronous")
    assert path.read_bytes() == (tmp_path / "plain.h5").read_bytes()
    before = path.stat()
    with pytest.raises(DestinationExistsError):
        convert(source, path, resume=True)
    assert path.stat() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["in.h5", "out.h5", "plain.h5"]


def test_what_cannot_be_resumed_is_refused_before_any_work(tmp_path: Path) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    with h5py.File(source, "w", userblock_size=512) as file:
        file["x"] = np.arange(9)
    with pytest.raises(SpecError, match=r"user block of 512 bytes.*leave resume out"):
        convert(source, path, resume=True)
    with pytest.raises(SpecError, match="leave resume or skip_unsupported"):
        convert(source, path, resume=True, skip_unsupported=True)
    with pytest.raises(SpecError, match="cannot be resumed"):
        streamh5.convert(source, io.BytesIO(), resume=True, progress=False)
    np.save(tmp_path / "in.npy", np.arange(9))
    with pytest.raises(SpecError, match="leave journal out"):
        convert(tmp_path / "in.npy", path, resume=True, journal=tmp_path / "x.journal")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["in.h5", "in.npy"]


def test_write_that_is_no_conversion_is_refused(tmp_path: Path) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    write_source(source)
    with streamh5.File(path, "w") as file:
        file.create_dataset("x", (10, 10), "f4", chunks=(1, 10))[...] = np.ones((10, 10))
        file.suspend()
    refused(source, path, "it is not a conversion")


def test_changed_source_of_a_virtual_dataset_is_refused(tmp_path: Path) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    write_zoo_of_sources(source)
    interrupt(source, path)
    with h5py.File(tmp_path / "part1.h5", "a") as part:
        part["x"][...] = 7
    os.utime(tmp_path / "part1.h5", ns=(0, 10**18))
    refused(source, path, r"part1\.h5 had .*now .* 2001-09-09 01:46:40\.000000000 UTC")


def test_changed_source_of_a_source_of_a_virtual_dataset_is_refused(tmp_path: Path) -> None:
    source, path, values = tmp_path / "in.h5", tmp_path / "out.h5", np.arange(600.0).reshape(30, 20)
    values.tofile(tmp_path / "raw.bin")
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file.create_dataset("x", values.shape, values.dtype, external=[(str(tmp_path / "raw.bin"), 0, 4800)])
    for name, other in (("middle", "outside.h5"), ("in", "middle.h5")):
        layout = h5py.VirtualLayout(values.shape, values.dtype)
        layout[...] = h5py.VirtualSource(other, "x", values.shape)
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_virtual_dataset("x", layout)
    interrupt(source, path, chunks=(3, 20))
    (values + 1).tofile(tmp_path / "raw.bin")
    os.utime(tmp_path / "raw.bin", ns=(0, 10**18))
    refused(source, path, r"raw\.bin had .*now .* 2001-", chunks=(3, 20))


def test_source_of_itself_in_a_circle_of_virtual_datasets_ends(tmp_path: Path) -> None:
    for name, other in (("in", "b.h5"), ("b", "in.h5")):
        layout = h5py.VirtualLayout((30, 20), "f8")
        layout[...] = h5py.VirtualSource(other, "x", (30, 20))
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_virtual_dataset("x", layout)
    with h5py.File(tmp_path / "in.h5") as file:
        source = file["x"].id
        found = list(nested_files(source, file.filename, set()))
    assert set(found) == {str(tmp_path / "b.h5"), str(tmp_path / "in.h5")}


def zarr_source(folder: Path) -> Path:
    make(folder / "in.zarr", field((160, 90)), (8, 9))
    return folder / "in.zarr"


def npy_source(folder: Path) -> Path:
    np.save(folder / "in.npy", field((400, 300)))
    return folder / "in.npy"


def classic_source(folder: Path) -> Path:
    with netcdf_file(folder / "in.nc", "w") as file:
        file.createDimension("t", 400)
        file.createDimension("x", 300)
        file.createVariable("data", "f4", ("t", "x"))[:] = field((400, 300))
    return folder / "in.nc"


@pytest.mark.parametrize("make_source", [zarr_source, npy_source, classic_source])
@pytest.mark.parametrize("keywords", [{}, {"chunks": (11, 10)}, {"max_memory": "1 GB", "chunks": (11, 10)}])
def test_other_sources_are_resumed_and_refused_when_they_have_changed(
    tmp_path: Path, hdf5_tools: None, make_source: Callable[[Path], Path], keywords: dict[str, Any]
) -> None:
    source, path = make_source(tmp_path), tmp_path / "out.h5"
    keywords = keywords or ({} if make_source is zarr_source else {"chunks": (20, 300)})
    interrupt(source, path, **keywords)
    changed = source / "c/0/0" if source.is_dir() else source
    status, data = changed.stat(), changed.read_bytes()
    os.utime(changed, ns=(0, 2 * 10**18))
    refused(source, path, r"in\.\w+ had .*, now .* 2033-", **keywords)
    changed.write_bytes(data)
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    done = convert(source, path, resume=True, **keywords)
    assert done.arrays[0].n_resumed >= 3
    convert(source, tmp_path / "undisturbed.h5", **keywords)
    assert_same(path, tmp_path / "undisturbed.h5")


def swap_chunks(array: Path) -> None:
    (array / "c/0/0").rename(array / "aside")
    (array / "c/0/1").rename(array / "c/0/0")
    (array / "aside").rename(array / "c/0/1")


def write_older_chunk(array: Path) -> None:
    chunk = array / "c/0/0"
    data = bytearray(chunk.read_bytes())
    data[-1] ^= 1
    chunk.write_bytes(data)
    os.utime(chunk, ns=(0, 10**9))


@pytest.mark.parametrize("change", [swap_chunks, write_older_chunk])
@pytest.mark.parametrize("is_linked", [False, True])
def test_change_in_a_folder_is_found_whatever_its_size_and_newest_time(
    tmp_path: Path, change: Callable[[Path], None], is_linked: bool
) -> None:
    source, path = zarr_source(tmp_path), tmp_path / "out.h5"
    if is_linked:
        aside = source.rename(tmp_path / "aside.zarr")
        zarr.open_group(source, mode="w")
        (source / "x").symlink_to(aside, target_is_directory=True)
    status = (source / "zarr.json").stat()
    os.utime(source / "zarr.json", ns=(status.st_atime_ns, 2 * 10**18))
    interrupt(source, path)
    change(source / "x" if is_linked else source)
    refused(source, path, r"in\.zarr had ([\d,]+ files, [\d,]+ bytes of .*) #.*, now \1 #")


def test_folder_is_searched_for_changes_only_with_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked: list[str] = []
    walk = os.walk

    def noted_walk(top: Any, **keywords: Any) -> Any:
        walked.append(os.fspath(top))
        return walk(top, **keywords)

    monkeypatch.setattr(os, "walk", noted_walk)
    source = zarr_source(tmp_path)
    convert(source, tmp_path / "a.h5")
    assert str(source) not in walked
    convert(source, tmp_path / "b.h5", resume=True)
    assert walked.count(str(source)) == 1


def test_after_a_power_cut_chunks_that_were_lost_are_copied_again(
    tmp_path: Path, hdf5_tools: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    write_source(source)
    assert start("SIGKILL", source, path, 150, {"resume": True}).returncode == -signal.SIGKILL
    journal = decode_journal(Path(f"{path}.partial.journal").read_bytes())
    assert journal is not None
    number = next(n for n, facts in journal.datasets.items() if facts["path"] == "/big")
    with Path(f"{path}.partial").open("r+b") as file:
        for record in np.concatenate(journal.claims[number].records)[:5]:
            file.seek(int(record["address"]))
            file.write(bytes(int(record["stored_nbytes"])))
    n_claimed = len(claimed_chunks(path)["/big"])
    monkeypatch.setattr("streamh5.recovery.resume.boot_id", lambda: "another")
    done = convert(source, path, resume=True)
    assert next(one.n_resumed for one in done.arrays if one.path == "/big") == n_claimed - 5
    convert(source, tmp_path / "undisturbed.h5")
    assert_same(path, tmp_path / "undisturbed.h5")


def test_conversion_in_a_child_process_is_resumed(tmp_path: Path, hdf5_tools: None) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    write_big(source)
    interrupt(source, path, 50)
    n_stored = sum(map(len, claimed_chunks(path).values()))
    done = convert(source, path, resume=True, safe=True)
    assert sum(one.n_resumed for one in done.arrays) == n_stored
    convert(source, tmp_path / "undisturbed.h5")
    assert_same(path, tmp_path / "undisturbed.h5")


def test_command_resumes(tmp_path: Path, hdf5_tools: None) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    write_big(source)
    interrupt(source, path, 50, sync="batch")
    command = [
        sys.executable,
        "-m",
        "streamh5",
        "convert",
        str(source),
        str(path),
        "--resume",
        "--sync",
        "batch",
    ]
    options: dict[str, Any] = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": DEADLOCK_SECONDS}
    unasked = subprocess.run([one for one in command if one != "--resume"], check=False, **options)
    assert unasked.returncode == 2
    assert "resume it (--resume), drop it with --overwrite" in unasked.stderr
    other = subprocess.run([*command, "--verify"], check=False, **options)
    assert other.returncode != 0
    assert "verify was False and is True" in other.stderr
    done = subprocess.run([*command, "--verbose"], check=True, **options)
    assert "chunks stored before" in done.stdout
    assert h5diff(source, path) == ""


def test_upload_is_resumed_from_its_journal(
    tmp_path: Path, memory_objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, journal = tmp_path / "in.h5", tmp_path / "out.journal"
    write_source(source)
    url = "memory://resume-conversion/out.h5"
    interrupt(source, url, 100, journal=journal)
    with pytest.raises(ResumeError, match="verify was False and is True"):
        convert(source, url, resume=True, journal=journal, verify=True)  # type: ignore[arg-type]
    assert journal.exists()
    done = convert(source, url, resume=True, journal=journal)  # type: ignore[arg-type]
    assert sum(one.n_resumed for one in done.arrays) >= 100
    assert not journal.exists()
