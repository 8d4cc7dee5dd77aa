"""``streamh5 demo``: write an array that is larger than the memory allowed, read it back, report.

The array is computed but resembles measurements: sea surface temperatures with fronts that drift, the noise of a
sensor, its steps of 1/64 K, and NaN under clouds. Each frame is computed when it is written.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import sys
import tempfile
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dask.array as da
import h5py
import numpy as np
from dask.system import CPU_COUNT
from tqdm import tqdm

import streamh5
from streamh5.arguments.memory_size import format_nbytes
from streamh5.arguments.paths import LocalPath, local_path
from streamh5.errors import counted
from streamh5.format.data_layout import ChunkIndexKind
from streamh5.sinks.destination_path import check_destination

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from streamh5.write.summary import WriteSummary

    Frame = NDArray[np.float32]

DEMO_DATASET = "/ocean/temperature"
WIDTH = 1024
CHUNKS = (1, 512, 512)
FRAME_NBYTES = WIDTH * WIDTH * 4
WORKER_NBYTES = 32 << 20
"""Memory that one worker uses: its frame and noise, the batch in its filters, its stack."""

N_PLACES = 24
"""Boxes at random places whose values are compared with the array."""

PROC_STATUS = Path("/proc/self/status")


def sea_surface(n_frames: int) -> da.Array:
    """Sea surface temperatures in degrees Celsius, computed lazily.

    Parameters
    ----------
    n_frames
        Extent in time.

    Returns
    -------
    dask.array.Array, ``(n_frames, 1024, 1024)`` float32
        One block per frame; NaN under clouds. The values are the same in every run on one machine.
    """
    rng = np.random.default_rng(2024)
    currents, eddies = _fractal(rng, 2.5), _fractal(rng, 1.9)
    array: da.Array = da.map_blocks(  # type: ignore[no-untyped-call] # dask annotates it only in part
        partial(_frame, currents, eddies),
        chunks=((1,) * n_frames, (WIDTH,), (WIDTH,)),
        dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
        name=f"sea-surface-{n_frames}",
    )
    return array


def _fractal(rng: np.random.Generator, slope: float) -> Frame:
    """Return a periodic field of unit variance whose spectrum falls with `slope`, tiled 2 by 2."""
    k = np.hypot(np.fft.fftfreq(WIDTH)[:, None], np.fft.rfftfreq(WIDTH))
    k[0, 0] = np.inf
    amplitudes = rng.standard_normal((*k.shape, 2)).view(np.complex128)[..., 0] * k**-slope
    field = np.fft.irfft2(amplitudes)
    return np.tile((field / field.std()).astype(np.float32), (2, 2))


def _frame(currents: Frame, eddies: Frame, block_id: tuple[int, ...] = (0, 0, 0)) -> Frame:
    t = block_id[0]
    latitude = np.linspace(-1.1, 1.1, WIDTH, dtype=np.float32)[:, None]
    drifting = _window(eddies, 2 * t, 5 * t)
    frame = np.random.default_rng(t).standard_normal((WIDTH, WIDTH), dtype=np.float32)
    frame *= 0.03
    frame += 24 * np.cos(latitude) ** 2
    frame += 2 * _window(currents, t, 3 * t)
    frame += drifting
    frame *= 64
    np.rint(frame, out=frame)
    frame /= 64
    frame[_window(currents, 7 * t, 11 * t) > 1.2] = np.nan
    return frame[np.newaxis]


def _window(field: Frame, row: int, column: int) -> Frame:
    row, column = row % WIDTH, column % WIDTH
    return field[row : row + WIDTH, column : column + WIDTH]


def run_demo(
    out: LocalPath | None = None,
    *,
    size_nbytes: int = 2 << 30,
    memory_nbytes: int = 256 << 20,
    overwrite: bool = False,
) -> bool:
    """Stream an array into a file, read it with h5py, and print the results.

    On Linux the kernel refuses more memory than is allowed (``RLIMIT_DATA``); elsewhere the peak is measured and
    compared with it.

    Parameters
    ----------
    out
        The file, which is kept; None for a temporary file, which is removed.
    size_nbytes
        Size of the array, rounded up to whole frames of 4 MiB.
    memory_nbytes
        Memory allowed in addition to what the process uses at the start.
    overwrite
        Replace an existing file.

    Returns
    -------
    bool
        Whether every check passed.

    Raises
    ------
    SinkError
        `out` cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="streamh5-demo-") if out is None else nullcontext() as folder:
        path = Path(folder, "demo.h5") if folder is not None else Path(local_path(out or ""))
        check_destination(path, overwrite=overwrite)
        screen = _Screen()
        screen.title(f"streamh5 {streamh5.__version__} demo")
        screen.say("file", f"{path}{'' if out is not None else '  (removed at the end)'}")
        start_nbytes = _peak_nbytes()
        try:
            with _memory_limit(memory_nbytes) as is_limited:
                x = sea_surface(-(-size_nbytes // FRAME_NBYTES))
                size, allowed = format_nbytes(x.nbytes), format_nbytes(memory_nbytes)
                screen.say("array", f"{_extents(x.shape)} {x.dtype}, {size}, computed lazily")
                guard = "the kernel refuses more" if is_limited else "measured, not enforced here"
                times = f"the array is {x.nbytes / memory_nbytes:.3g} times that"
                screen.say("memory", f"{allowed} allowed, {times}; {guard}")
                n_threads = max(1, min(CPU_COUNT, memory_nbytes // WORKER_NBYTES))
                summary = _stream(x, path, screen, n_threads, overwrite)
                report = _read_back(path, x)
        except MemoryError:
            screen.mark(False, f"{format_nbytes(memory_nbytes)} of memory are not enough")
            return False
        peak_nbytes = _peak_nbytes() - start_nbytes
    _tell(screen, summary, report, n_threads)
    return _judge(screen, summary, report, peak_nbytes, memory_nbytes)


def _stream(x: da.Array, path: Path, screen: _Screen, n_threads: int, overwrite: bool) -> WriteSummary:
    with screen.bar(int(x.nbytes)) as bar:
        summary = streamh5.to_fixed_h5(
            path,
            DEMO_DATASET,
            x,
            chunks=CHUNKS,
            attrs={"units": "degC"},
            overwrite=overwrite,
            progress=lambda done, _: bar.update(done - bar.n),
            num_workers=n_threads,
        )
    return cast("WriteSummary", summary)


@dataclass(slots=True)
class _Report:
    """What h5py finds in the file."""

    index: str = "none"
    n_stored: int = 0
    n_compared: int = 0
    n_different: int = 0
    failure: str | None = None


def _read_back(path: Path, x: da.Array) -> _Report:
    report = _Report()
    try:
        with h5py.File(path, "r") as file:
            dataset = file[DEMO_DATASET]
            report.index = chunk_index_name(dataset)
            report.n_stored = dataset.id.get_num_chunks()
            for box in _places(x.shape):
                expected, found = x[box].compute(scheduler="synchronous"), dataset[box]
                report.n_compared += expected.size
                report.n_different += int((~np.isclose(found, expected, 0, 0, equal_nan=True)).sum())
    except OSError as error:
        report.failure = str(error)
    return report


def _places(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Yield the first and the last element, then boxes at random places, some across the borders of chunks."""
    yield tuple(slice(0, 1) for _ in shape)
    yield tuple(slice(n - 1, n) for n in shape)
    rng = np.random.default_rng()
    for _ in range(N_PLACES):
        t, row, column = (int(i) for i in rng.integers(0, shape))
        yield slice(t, t + 1), slice(row, row + 300), slice(column, column + 300)


def _tell(screen: _Screen, summary: WriteSummary, report: _Report, n_threads: int) -> None:
    (dataset,) = summary.datasets
    screen.say("chunks", f"{dataset.n_chunks:,} of {_extents(CHUNKS)}, shuffle + gzip")
    screen.say("index", f"{report.index}, says HDF5 {h5py.version.hdf5_version}")
    sizes = f"{format_nbytes(dataset.nbytes)} as {format_nbytes(summary.file_nbytes)}"
    screen.say("stored", f"{sizes}, ratio {dataset.ratio:.2f}")
    rate = f"{format_nbytes(summary.nbytes_per_second)}/s"
    threads = counted(n_threads, "thread")
    screen.say("speed", f"{rate}: computed, compressed and durable in {summary.seconds:.1f} s on {threads}")


def _judge(
    screen: _Screen, summary: WriteSummary, report: _Report, peak_nbytes: int, memory_nbytes: int
) -> bool:
    (dataset,) = summary.datasets
    peak, allowed = format_nbytes(peak_nbytes), format_nbytes(memory_nbytes)
    screen.say("peak", f"{peak} of memory beyond the interpreter's")
    compared = f"{report.n_compared:,} values at {N_PLACES + 2} places"
    checks = {
        f"all {dataset.n_chunks:,} chunks are stored, in a Fixed Array": (
            report.n_stored == dataset.n_chunks and report.index == "Fixed Array"
        ),
        f"h5py reads {compared} as the array has them": not (report.n_different or report.failure),
        f"the peak of memory is below the {allowed} allowed": peak_nbytes <= memory_nbytes,
    }
    screen.gap()
    for check, is_right in checks.items():
        screen.mark(is_right, check)
    if report.failure is not None:
        screen.say("error", report.failure)
    elif report.n_different:
        screen.say("error", f"{report.n_different:,} of {compared} differ")
    return all(checks.values())


def _extents(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def chunk_index_name(dataset: h5py.Dataset) -> str:
    """Return the name of a dataset's chunk index as libhdf5 reports it (``H5Dget_chunk_index_type``).

    h5py does not wrap this function; it is called in the library that h5py has loaded.
    """
    names = [kind.value for kind in ChunkIndexKind]
    call = ctypes.CDLL(h5py.h5d.__file__).H5Dget_chunk_index_type
    call.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_int)]
    number = ctypes.c_int(-1)
    call(dataset.id.id, ctypes.byref(number))
    return names[number.value] if 0 <= number.value < len(names) else f"type {number.value}"


@contextmanager
def _memory_limit(nbytes: int) -> Iterator[bool]:
    """Let the kernel refuse more than `nbytes` of further memory, if it can; yield whether it does."""
    used = _status_nbytes("VmData")
    if used is None:
        yield False
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [n for n in (soft, hard) if n != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([used + nbytes, *limits]), hard))
    try:
        yield True
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _peak_nbytes() -> int:
    """Return the highest resident memory so far; on Linux not ``ru_maxrss``, which begins with the parent's."""
    peak = _status_nbytes("VmHWM")
    return peak if peak is not None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _status_nbytes(field: str) -> int | None:
    if not PROC_STATUS.exists():
        return None
    match = re.search(rf"^{field}:\s+(\d+) kB$", PROC_STATUS.read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


class _Screen:
    """Lines with colours for a terminal, or plain lines for a log."""

    def __init__(self) -> None:
        is_utf8 = (sys.stdout.encoding or "").lower().startswith("utf")
        is_plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        self._is_terminal = sys.stdout.isatty() and is_utf8 and not is_plain

    def title(self, text: str) -> None:
        """Print the first line."""
        print(f"\n{self._style('1', text)}\n" if self._is_terminal else text, flush=True)

    def say(self, what: str, text: str) -> None:
        """Print one fact."""
        print(f"  {self._style('36', f'{what:<8}')} {text}", flush=True)

    def gap(self) -> None:
        """Separate the facts from the checks."""
        if self._is_terminal:
            print()

    def mark(self, is_right: bool, text: str) -> None:
        """Print the result of a check."""
        if self._is_terminal:
            sign = self._style("32", "✓") if is_right else self._style("31", "✗")
        else:
            sign = "ok" if is_right else "FAILED"
        print(f"  {sign} {text}", flush=True)

    def bar(self, total_nbytes: int) -> Any:
        """Return a progress bar, which is hidden in a log."""
        name = self._style("36", "writing ")
        return tqdm(
            total=total_nbytes,
            disable=not self._is_terminal,
            bar_format=f"  {name} {{bar}} {{percentage:3.0f}}%  {{rate_fmt}}  {{elapsed}}",
            ascii="─━",
            ncols=min(shutil.get_terminal_size().columns, 88),
            unit="iB",
            unit_scale=True,
            unit_divisor=1024,
            file=sys.stdout,
        )

    def _style(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._is_terminal else text
