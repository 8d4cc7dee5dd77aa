"""What a stranger does who installed streamh5 alone: the README's first example, and calls that need an extra.

Each of these must end in an error that says which extra to install.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np

import streamh5

x = da.random.default_rng(0).integers(0, 10, size=(20, 1000, 1000), chunks=(5, 1000, 1000), dtype="u2")
Path("a.zarr").mkdir(exist_ok=True)

NEEDS: dict[str, list[Callable[[], Any]]] = {
    "codecs": [lambda: x.to_fixed_h5("codec.h5", "/x", compression="bitshuffle")],
    "s3": [lambda: x.to_fixed_h5("s3://bucket/x.h5", "/x"), lambda: streamh5.verify("s3://bucket/x.h5")],
    "gcs": [lambda: streamh5.File("gs://bucket/x.h5", "w")],
    "azure": [lambda: streamh5.inspect("az://container/x.h5")],
    "http": [lambda: streamh5.verify("https://localhost/x.h5")],
    "references": [lambda: streamh5.read_references("out.h5").to_kerchunk("out.parquet")],
    "zarr": [lambda: streamh5.convert("a.zarr", "zarr.h5")],
}


def main() -> None:
    """Exit with what is wrong."""
    x.to_fixed_h5("out.h5", "/run1/x")
    with h5py.File("out.h5") as f:
        if not np.array_equal(f["/run1/x"][...], x.compute()):
            sys.exit("h5py reads other values than were written")
    if not streamh5.verify("out.h5").ok:
        sys.exit("streamh5.verify finds the file damaged")
    for extra, calls in NEEDS.items():
        for call in calls:
            try:
                call()
            except streamh5.errors.MissingCodecError as error:
                if f"streamh5[{extra}]" not in str(error):
                    sys.exit(f"the message does not name the extra {extra}: {error}")
            else:
                sys.exit(f"a call that needs the extra {extra} succeeded without it")
    print(f"{len(NEEDS)} extras are named where they are missing")


if __name__ == "__main__":
    main()
