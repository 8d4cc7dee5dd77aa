"""``streamh5 demo``: what it leaves behind, what it says, and that its checks can fail."""

from __future__ import annotations

import os
import pty
import resource
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5.cli import demo
from streamh5.cli.demo import chunk_index_name, run_demo, sea_surface
from tests.deadlock import DEADLOCK_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

SMALL = 8 << 20
ROOMY = 2 << 30


def demo_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamh5", "demo", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
        env={**os.environ, **environment},
    )


def test_demo_with_an_array_larger_than_its_memory_keeps_the_file_and_passes(tmp_path: Path) -> None:
    out = tmp_path / "demo.h5"
    done = demo_process(str(out), "--size", "384MiB", "--memory", "192MiB")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "FAILED" not in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.isascii()
    with h5py.File(out, "r") as file:
        dataset = file["/ocean/temperature"]
        assert dataset.shape == (96, 1024, 1024)
        assert dataset.attrs["units"] == "degC"
        np.testing.assert_array_equal(dataset[17], sea_surface(96)[17].compute())
    for fact in ("96 x 1024 x 1024 float32, 384.0 MiB", "384 of 1 x 512 x 512", "Fixed Array, says HDF5"):
        assert fact in done.stdout


def test_demo_without_a_name_leaves_nothing(tmp_path: Path) -> None:
    done = demo_process("--size", "8MiB", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(tmp_path) in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of the kernel is Linux's")
def test_demo_with_too_little_memory_fails_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "demo.h5"
    done = demo_process(str(out), "--size", "64MiB", "--memory", "24MiB")
    assert done.returncode == 1
    assert "FAILED 24.0 MiB of memory are not enough" in done.stdout
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_demo_existing_file_is_refused_and_kept(tmp_path: Path) -> None:
    out = tmp_path / "demo.h5"
    out.write_bytes(b"mine")
    with pytest.raises(streamh5.errors.DestinationExistsError):
        run_demo(out, size_nbytes=SMALL)
    assert out.read_bytes() == b"mine"


def test_demo_existing_file_with_overwrite_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "demo.h5"
    out.write_bytes(b"mine")
    assert run_demo(out, size_nbytes=SMALL, memory_nbytes=ROOMY, overwrite=True)
    assert h5py.is_hdf5(out)


def test_demo_restores_the_limit_of_the_process(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    run_demo(tmp_path / "demo.h5", size_nbytes=SMALL, memory_nbytes=ROOMY)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_demo_on_a_terminal_shows_a_bar(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, "-m", "streamh5", "demo", str(tmp_path / "demo.h5"), "--size", "8MiB"]
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    with subprocess.Popen(
        command, stdout=theirs, env={**environment, "TERM": "xterm", "PYTHONUTF8": "1"}
    ) as process:
        os.close(theirs)
        seen = read_all(ours)
    assert process.returncode == 0
    assert "━" in seen
    assert "100%" in seen
    assert "✓" in seen


def read_all(descriptor: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()


def wrong_value(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file[demo.DEMO_DATASET][...] = -1


def corrupt_chunk(path: Path) -> None:
    with h5py.File(path, "r") as file:
        identifier = file[demo.DEMO_DATASET].id
        chunks = [identifier.get_chunk_info(i) for i in range(identifier.get_num_chunks())]
    with path.open("r+b") as stream:
        for chunk in chunks:
            stream.seek(chunk.byte_offset)
            stream.write(b"\xff" * 16)


def other_index(path: Path) -> None:
    """The same values, from libhdf5 in its oldest format: a version 1 B-tree."""
    with h5py.File(path, "r") as file:
        values = file[demo.DEMO_DATASET][...]
    with h5py.File(path, "w") as file:
        file.create_dataset(demo.DEMO_DATASET, data=values, chunks=demo.CHUNKS, compression="gzip")


@pytest.mark.parametrize(
    ("harm", "check"),
    [
        (wrong_value, "FAILED h5py reads"),
        (corrupt_chunk, "FAILED h5py reads"),
        (other_index, "FAILED all 8 chunks are stored, in a Fixed Array"),
    ],
)
def test_demo_with_a_harmed_file_fails_its_check(
    harm: Any, check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = streamh5.to_fixed_h5

    def write_and_harm(path: Path, *args: Any, **kwargs: Any) -> Any:
        summary = written(path, *args, **kwargs)
        harm(path)
        return summary

    monkeypatch.setattr(streamh5, "to_fixed_h5", write_and_harm)
    assert not run_demo(tmp_path / "demo.h5", size_nbytes=SMALL, memory_nbytes=ROOMY)
    out = capsys.readouterr().out
    assert check in out
    assert out.count("FAILED") == 1


def test_demo_peak_above_the_allowance_fails_its_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peaks = iter([100 << 20, 400 << 20])
    monkeypatch.setattr(demo, "_peak_nbytes", lambda: next(peaks))
    monkeypatch.setattr(demo, "_status_nbytes", lambda _: None)  # as where the kernel has no limit
    assert not run_demo(tmp_path / "demo.h5", size_nbytes=SMALL, memory_nbytes=299 << 20)
    out = capsys.readouterr().out
    assert "FAILED the peak of memory is below the 299.0 MiB allowed" in out
    assert "measured, not enforced here" in out


def test_sea_surface_is_lazy_and_the_same_every_time() -> None:
    first, second = sea_surface(1000), sea_surface(1000)
    assert isinstance(first, da.Array)
    assert first.chunks == ((1,) * 1000, (1024,), (1024,))
    frame = first[999].compute()
    np.testing.assert_array_equal(frame, second[999].compute())
    clouds = np.isnan(frame).mean()
    assert 0.02 < clouds < 0.5
    assert np.unique(frame).size > 500


@pytest.mark.parametrize(
    ("libver", "kwargs", "name"),
    [
        ("earliest", {"chunks": (2, 2)}, "v1 B-tree"),
        ("v110", {"chunks": (4, 4)}, "Single Chunk"),
        ("v110", {"chunks": (2, 2)}, "Fixed Array"),
        ("v110", {"chunks": (2, 2), "maxshape": (None, 4)}, "Extensible Array"),
        ("v110", {"chunks": (2, 2), "maxshape": (None, None)}, "v2 B-tree"),
    ],
)
def test_chunk_index_name_of_files_of_libhdf5_is_right(
    libver: str, kwargs: dict[str, Any], name: str, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "x.h5", "w", libver=(libver, "latest")) as file:
        dataset = file.create_dataset("x", data=np.arange(16.0).reshape(4, 4), **kwargs)
        assert chunk_index_name(dataset) == name
