"""What programs of other languages read, each in a line of its own language: see docs/readers.md.

``python -m tests.readers.other_languages`` prints the table. A program that is not installed is left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

import streamh5
from tests.readers.plugins import plugin_folder
from tests.readers.programs import brought

X = np.arange(60.0 * 50).reshape(60, 50)
TEXT = ["one", "zwei", "trois"]
TOTAL = "4498500"


def write_dataset(path: Path, *, libver: str = "v110", page: bool = False, **options: object) -> None:
    with streamh5.File(path, "w", libver=libver, page=page) as file:
        file.create_dataset("x", data=X, chunks=(20, 30), **{"compression": "gzip", **options})  # type: ignore[arg-type]


def write_text(path: Path) -> None:
    with streamh5.File(path, "w") as file:
        file.create_dataset("x", data=TEXT)


def write_masks(path: Path) -> None:
    """Write a chunk that skipped gzip, the second of two filters, before others that did not."""
    with streamh5.File(path, "w") as file:
        x = file.create_dataset("x", (60, 50), "f8", chunks=(20, 50), compression="gzip", shuffle=True)
        shuffled = X[:20].copy().view("u1").reshape(-1, 8).T.tobytes()
        x.write_direct_chunk((0, 0), shuffled, filter_mask=0b10)
        x[20:] = X[20:]


def write_netcdf(path: Path) -> None:
    ds = xr.Dataset({"x": (("row", "column"), X)})
    streamh5.to_netcdf(ds, path, encoding={"x": {"zlib": True, "chunksizes": (20, 30)}})


FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "default": ("h5", write_dataset),
    "v108": ("h5", lambda path: write_dataset(path, libver="v108")),
    "unlimited": ("h5", lambda path: write_dataset(path, maxshape=(None, 50))),
    "page": ("h5", lambda path: write_dataset(path, page=True)),
    "zstd": ("h5", lambda path: write_dataset(path, compression="zstd")),
    "lz4": ("h5", lambda path: write_dataset(path, compression="lz4")),
    "blosc": ("h5", lambda path: write_dataset(path, compression="blosc")),
    "text": ("h5", write_text),
    "masks": ("h5", write_masks),
    "netCDF-4": ("nc", write_netcdf),
}

R = "paste(x, collapse=' ')"
R_SUM = f"if (is.character(x)) cat({R}) else cat(format(sum(x), digits=15, scientific=FALSE))"
COMMANDS: dict[str, tuple[str, list[str]]] = {
    "Octave": ("octave-cli", ["--eval", "x = load('-hdf5', '{path}').x; printf('%d', sum(x(:)))"]),
    "R hdf5r": (
        "Rscript",
        ["-e", f"library(hdf5r); x <- H5File$new('{{path}}', 'r')[['x']]$read(); {R_SUM}"],
    ),
    "R rhdf5": ("Rscript", ["-e", f"library(rhdf5); x <- h5read('{{path}}', 'x'); {R_SUM}"]),
    "R ncdf4": ("Rscript", ["-e", f"library(ncdf4); x <- ncvar_get(nc_open('{{path}}'), 'x'); {R_SUM}"]),
    "jsfive": (
        "node",
        [
            "-e",
            "const h = require('{modules}/jsfive'); const b = require('fs').readFileSync('{path}');"
            "const f = new h.File(b.buffer.slice(b.byteOffset, b.byteOffset + b.length), 'x');"
            "const v = Array.from(f.get('x').value);"
            "console.log(typeof v[0] == 'string' ? v.join(' ') : v.reduce((a, b) => a + b, 0))",
        ],
    ),
    "pyfive": (
        sys.executable,
        [
            "-c",
            "import pyfive, numpy as np; x = pyfive.File('{path}')['x'][:]; "
            "print(' '.join(t.decode() if isinstance(t, bytes) else t for t in x) if x.ndim == 1 else int(x.sum()))",
        ],
    ),
    "kerchunk": (
        sys.executable,
        [
            "-c",
            "import kerchunk.hdf, xarray as xr; r = kerchunk.hdf.SingleHdf5ToZarr('{path}').translate(); "
            "x = xr.open_dataset(r, engine='kerchunk', chunks=None, mask_and_scale=False)['x'].values; "
            "print(' '.join(map(str, x)) if x.ndim == 1 else int(x.sum()))",
        ],
    ),
    "VirtualiZarr": (
        sys.executable,
        [
            "-c",
            "import xarray as xr; from virtualizarr.parsers import HDFParser; from obspec_utils.registry import "
            "ObjectStoreRegistry; from obstore.store import LocalStore; "
            "s = HDFParser()(url='file://{path}', registry=ObjectStoreRegistry({{'file://': LocalStore()}})); "
            "x = xr.open_zarr(s, consolidated=False, zarr_format=3, mask_and_scale=False)['x'].values; "
            "print(' '.join(map(str, x)) if x.ndim == 1 else int(x.sum()))".replace("{{", "{").replace(
                "}}", "}"
            ),
        ],
    ),
    "GDAL": ("gdal_translate", ["-q", "-of", "XYZ", "{subdataset}", "/vsistdout/"]),
}
"""Program, and its arguments; it prints the sum of the dataset ``x``, or its text."""


def read(reader: str, path: Path) -> str:
    """Return what a program says of a dataset, or the last line of its error."""
    program, arguments = COMMANDS[reader]
    places = {
        "{path}": str(path),
        "{modules}": str(brought("STREAMH5_NODE_MODULES", "node_modules")),
        "{subdataset}": f'HDF5:"{path}"://x' if path.suffix == ".h5" else f'NETCDF:"{path}":x',
    }
    filled = list(arguments)
    for place, value in places.items():
        filled = [argument.replace(place, value) for argument in filled]
    done = subprocess.run(
        [program, *filled],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "HDF5_PLUGIN_PATH": str(plugin_folder())},
    )
    said = done.stdout.split("\n") if reader == "GDAL" else done.stdout.split()
    if done.returncode == 0 and said:
        if reader == "GDAL":
            return f"{sum(float(line.split()[2]) for line in said if line):.0f}"
        return " ".join(said)
    return f"! {(done.stderr.strip() or done.stdout.strip() or str(done.returncode))[-300:]}"


def is_right(kind: str, said: str) -> bool:
    return said.removeprefix("(0) ").split() in ([[*TEXT]] if kind == "text" else [[TOTAL], [f"{TOTAL}.0"]])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for kind, (suffix, write) in FILES.items():
            path = Path(folder) / f"{kind}.{suffix}"
            write(path)
            for reader, (program, _) in COMMANDS.items():
                if shutil.which(program):
                    said = read(reader, path)
                    print(
                        kind, reader, "right" if is_right(kind, said) else said.replace("\n", " | "), sep="; "
                    )


if __name__ == "__main__":
    main()
