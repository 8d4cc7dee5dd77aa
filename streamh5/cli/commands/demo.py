"""``streamh5 demo``: stream an array that is larger than the memory, and compare it with what was written."""

from __future__ import annotations

from streamh5.cli.command import OVERWRITE, Command, option
from streamh5.cli.option_values import read_nbytes


def _demo(out: str | None, *, size: int, memory: int, overwrite: bool) -> int:
    from streamh5.cli.demo import run_demo

    return 0 if run_demo(out, size_nbytes=size, memory_nbytes=memory, overwrite=overwrite) else 1


DEMO = Command(
    _demo,
    "stream an array several times larger than its memory into a file, and check it",
    "Stream a lazily computed array, several times larger than the memory that is allowed, into one HDF5 file; then "
    "read it with h5py and compare values with the array.",
    (
        option(
            "out", nargs="?", metavar="OUT", help="keep the file here; by default it is removed at the end"
        ),
        option("--size", type=read_nbytes, default="2GiB", help="size of the array (default: %(default)s)"),
        option(
            "--memory",
            type=read_nbytes,
            default="256MiB",
            help="memory allowed in addition to that of the interpreter and its imports (default: %(default)s)",
        ),
        OVERWRITE,
    ),
)
