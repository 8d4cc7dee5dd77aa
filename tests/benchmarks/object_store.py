"""One HDF5 file to an object store: streamh5 beside a local file that is then uploaded.

    python -m tests.benchmarks.object_store [--mib 1024] [--rounds 5] [--server small|moto] [--aws PATH] [--ways ...]

Work "a": float32, blocks and chunks of 4 MiB, gzip with shuffle. The server is a process on the same cores:
`object_server`, which costs little, or moto. Each timing has a process of its own with a warm-up write; ways take
turns, every other round goes backwards, and ratios are taken within a round. The local file is not made durable
(``sync="none"``), and the tools have their defaults. ``--parts`` and ``--senders`` compare the constants
`streamh5.sinks.part_sizes.PART_NBYTES` and `streamh5.sinks.part_sender.N_SENDERS`; ``--memory`` prints the peak of
memory instead, with blocks that are copies, as a reader or a computation gives them. Workers of a cluster:
`object_cluster`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.benchmarks.contenders import h5_options
from tests.benchmarks.machine import wait_until_quiet, warm_page_cache
from tests.benchmarks.memory import peak_nbytes
from tests.benchmarks.object_server import object_server
from tests.benchmarks.work import MIB, WORKS, load_pool, make_array, prepare_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import dask.array as da

    Write = Callable[[da.Array, Path, str, dict[str, Any]], None]

WORK = WORKS["a"]
BUCKET = "bench"
KEYS = {"key": "none", "secret": "none"}


def _write(x: da.Array, destination: str, **options: Any) -> None:
    import streamh5

    streamh5.to_fixed_h5(
        destination, "/x", x, chunks=WORK.chunks, overwrite=True, progress=False, **h5_options("gzip"), **options
    )  # fmt: skip


def write_object(x: da.Array, folder: Path, key: str, order: dict[str, Any]) -> None:
    """Write to the store."""
    options = {"max_memory": order["max_memory"]} if order.get("max_memory") else {}
    _write(x, f"s3://{BUCKET}/{key}", storage_options={**KEYS, "endpoint_url": order["endpoint"]}, **options)


def write_only(x: da.Array, folder: Path, key: str, order: dict[str, Any]) -> None:
    """Write the local file, and upload nothing."""
    _write(x, str(folder / key), sync="none")


def upload_boto3(x: da.Array, folder: Path, key: str, order: dict[str, Any]) -> None:
    """Write a local file; ``upload_file`` of boto3."""
    import boto3

    write_only(x, folder, key, order)
    client = boto3.client(
        "s3",
        endpoint_url=order["endpoint"],
        region_name="us-east-1",
        aws_access_key_id=KEYS["key"],
        aws_secret_access_key=KEYS["secret"],
    )
    client.upload_file(str(folder / key), BUCKET, key)


def upload_s3fs(x: da.Array, folder: Path, key: str, order: dict[str, Any]) -> None:
    """Write a local file; ``put_file`` of s3fs."""
    import s3fs

    write_only(x, folder, key, order)
    s3fs.S3FileSystem(**KEYS, endpoint_url=order["endpoint"]).put_file(str(folder / key), f"{BUCKET}/{key}")


def upload_aws(x: da.Array, folder: Path, key: str, order: dict[str, Any]) -> None:
    """Write a local file; the command ``aws s3 cp``."""
    write_only(x, folder, key, order)
    subprocess.run(
        [
            order["aws"], "s3", "cp", "--quiet", "--endpoint-url", order["endpoint"],
            folder / key, f"s3://{BUCKET}/{key}",
        ],
        check=True,
        env={
            **os.environ, "AWS_ACCESS_KEY_ID": KEYS["key"], "AWS_SECRET_ACCESS_KEY": KEYS["secret"],
            "AWS_DEFAULT_REGION": "us-east-1", "PYTHONPATH": "",
        },
    )  # fmt: skip


OURS = "streamh5 to s3://"
WAYS: dict[str, Write] = {
    OURS: write_object,
    "local file only": write_only,
    "local file, boto3 upload_file": upload_boto3,
    "local file, s3fs put": upload_s3fs,
    "local file, aws s3 cp": upload_aws,
}


def timed(order: dict[str, Any]) -> dict[str, float]:
    """Return seconds, processor seconds and peak memory of one write in this process."""
    import dask

    from streamh5.sinks import part_sender, part_sizes

    part_sizes.PART_NBYTES = order["part_mib"] * MIB
    part_sender.N_SENDERS = order["n_senders"]
    part_sender.SENT_NBYTES = order["sent_mib"] * MIB
    write, folder = WAYS[order["way"]], Path(order["folder"])
    pool = load_pool(WORK, Path(order["pools"]))
    with dask.config.set(scheduler="threads", num_workers=2):
        write(make_array(WORK, pool, 24, copy=order["is_memory"]), folder, "warm.h5", order)
        x = make_array(WORK, pool, order["n_blocks"], copy=order["is_memory"])
        if not order["is_memory"]:
            warm_page_cache(folder, int(x.nbytes) // 2)
            os.sync()
        wait_until_quiet(order["quiet_seconds"])
        before, began, used = peak_nbytes(), time.perf_counter(), _processor_seconds()
        write(x, folder, "out.h5", order)
        seconds, used = time.perf_counter() - began, _processor_seconds() - used
    if order["is_checked"] and order["way"] == OURS:
        _check(x, order)
    return {"seconds": seconds, "processor": used, "peak": peak_nbytes() - before}


def _processor_seconds() -> float:
    """Of this process, and of the commands that it has called."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)


def _check(x: da.Array, order: dict[str, Any]) -> None:
    """Read some blocks back with h5py and s3fs."""
    import h5py
    import numpy as np
    import s3fs

    system = s3fs.S3FileSystem(**KEYS, endpoint_url=order["endpoint"])
    with system.open(f"{BUCKET}/out.h5") as opened, h5py.File(opened) as file:
        for i in (0, x.shape[0] // 2, x.shape[0] - 1):
            np.testing.assert_array_equal(file["x"][i], x[i].compute(scheduler="synchronous"))


@contextmanager
def moto() -> Iterator[str]:
    """Start moto's server; it ends with the block."""
    from tests.stores.servers import moto_server

    with moto_server() as server:
        yield f"http://127.0.0.1:{server.port}"


def in_a_process(order: dict[str, Any], server: str) -> dict[str, float]:
    """Return what `timed` returns, in a process of its own with a server of its own."""
    if order["way"] == "local file, aws s3 cp" and not order["aws"]:
        return {}
    with (
        moto() if server == "moto" else object_server() as endpoint,
        tempfile.TemporaryDirectory(dir=order["pools"]) as folder,
    ):
        import http.client

        connection = http.client.HTTPConnection(endpoint.removeprefix("http://"))
        connection.request("PUT", f"/{BUCKET}")
        connection.getresponse().read()
        connection.close()
        call = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.object_store", "--one"]
        done = subprocess.run(
            [*call, json.dumps({**order, "endpoint": endpoint, "folder": folder})],
            check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


def measure(rows: dict[str, dict[str, Any]], n_rounds: int, server: str) -> dict[str, list[dict[str, float]]]:
    """Measure all rows in turns."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in rows}
    for number in range(n_rounds):
        for name in list(rows)[:: -1 if number % 2 else 1]:
            one = in_a_process({**rows[name], "is_checked": number == 0}, server)
            if one:
                found[name].append(one)
    return {name: runs for name, runs in found.items() if runs}


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Return what was given on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.object_store",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--mib", type=int, default=1024)
    add("--rounds", type=int, default=5)
    add("--server", default="small", choices=["small", "moto"])
    add("--aws", default="", help="the aws command, which needs an environment of its own")
    add("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), metavar="WAY", help="; ".join(WAYS))
    add("--parts", default="", help="sizes of parts in MiB, separated by commas")
    add("--senders", default="", help="numbers of senders, separated by commas")
    add("--memory", default="", help="max_memory, such as 256MiB")
    add("--quiet-seconds", type=float, default=10)
    add("--dir", type=Path, default=Path(tempfile.gettempdir()))
    add("--one", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args(given)


def main() -> None:
    """Measure."""
    given = arguments()
    if given.one:
        print(json.dumps(timed(given.one)))
        return
    from streamh5.sinks.part_sender import N_SENDERS, SENT_NBYTES
    from streamh5.sinks.part_sizes import PART_NBYTES

    pools = given.dir / "streamh5-benchmarks"
    pools.mkdir(exist_ok=True)
    prepare_pool(WORK, pools, pools)
    usual = {
        "way": OURS,
        "part_mib": PART_NBYTES // MIB,
        "n_senders": N_SENDERS,
        "sent_mib": SENT_NBYTES // MIB,
        "n_blocks": given.mib * MIB // WORK.block_nbytes,
        "pools": str(pools),
        "aws": given.aws,
        "quiet_seconds": given.quiet_seconds,
        "is_memory": bool(given.memory),
        "max_memory": given.memory,
    }
    if given.parts or given.senders or given.memory:
        sizes = [int(n) for n in (given.parts or str(usual["part_mib"])).split(",")]
        senders = [int(n) for n in (given.senders or str(N_SENDERS)).split(",")]
        rows = {
            f"parts of {size} MiB, {n} senders": usual | {"part_mib": size, "n_senders": n}
            for size in sizes
            for n in senders
        }
    else:
        rows = {way: usual | {"way": way} for way in given.ways}
    found = measure(rows, given.rounds, given.server)
    first = next(iter(found.values()))
    print(
        "| way | s | MB/s | the first is x as fast | processor s | peak MiB |\n|---|---:|---:|---:|---:|---:|"
    )
    for name, runs in found.items():
        ratios = [b["seconds"] / a["seconds"] for a, b in zip(first, runs, strict=True)]
        seconds, processor, peak = (
            median(one[what] for one in runs) for what in ("seconds", "processor", "peak")
        )
        print(
            f"| {name} | {seconds:.2f} | {given.mib * MIB / 1e6 / seconds:,.0f} | {median(ratios):.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f}) | {processor:.2f} | {peak / MIB:,.0f} |"
        )  # fmt: skip


if __name__ == "__main__":
    main()
