"""Workers of a cluster that send parts of one object: two beside one, and beside a shared file.

    python -m tests.benchmarks.object_cluster [--mib 1024] [--rounds 5] [--dir /tmp]

As `tests.benchmarks.cluster`: a fresh ``LocalCluster`` of processes with one thread each for every write, work "a",
ways in turns, ratios within a round. Server (`tests.benchmarks.object_server`), client, scheduler and workers share the
cores.
"""

from __future__ import annotations

import argparse
import http.client
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.cluster import N_WARM_UP, Run, Usage, cluster, write_streamh5
from tests.benchmarks.machine import wait_until_quiet, warm_page_cache
from tests.benchmarks.object_server import object_server
from tests.benchmarks.object_store import BUCKET, KEYS
from tests.benchmarks.work import MIB, WORKS, make_array_for_workers, prepare_pool

WORK = WORKS["a"]

WAYS = {
    "2 workers to s3://": (2, True),
    "1 worker to s3://": (1, True),
    "2 workers to a shared file": (2, False),
}
"""Number of workers; whether they send parts."""


def run(way: str, folder: Path, n_blocks: int) -> Run:
    """Time one way, with a cluster and a server of its own."""
    n_workers, is_object = WAYS[way]
    with object_server() as endpoint, cluster(n_workers, folder) as client:
        connection = http.client.HTTPConnection(endpoint.removeprefix("http://"))
        connection.request("PUT", f"/{BUCKET}")
        connection.getresponse().read()
        connection.close()
        options: dict[str, Any] = {"overwrite": True}
        if is_object:
            options["storage_options"] = {**KEYS, "endpoint_url": endpoint}
        target: Any = f"s3://{BUCKET}/out.h5" if is_object else folder / "out.h5"
        write_streamh5(make_array_for_workers(WORK, folder, N_WARM_UP), WORK.chunks, target, **options)
        x = make_array_for_workers(WORK, folder, n_blocks)
        os.sync()
        warm_page_cache(folder, int(x.nbytes) // 2)
        wait_until_quiet(10)
        own, workers, start = Usage.of_this_process(), Usage.of_workers(client), time.perf_counter()
        write_streamh5(x, WORK.chunks, target, **options)
        seconds = time.perf_counter() - start
        own, workers = Usage.of_this_process() - own, Usage.of_workers(client) - workers
        if not is_object:
            target.unlink()
        return Run(seconds, own, workers)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.object_cluster", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.dir) as temporary:
        folder = Path(temporary)
        prepare_pool(WORK, folder, folder)
        runs: dict[str, list[Run]] = {way: [] for way in WAYS}
        for number in range(given.rounds):
            for way in list(WAYS)[:: -1 if number % 2 else 1]:
                runs[way].append(run(way, folder, given.mib * MIB // WORK.block_nbytes))
    first = next(iter(runs.values()))
    print(
        "| way | MB/s | the first is x as fast | processor s, client | workers "
        "| MB a processor second, of the first against it |\n|---|---:|---:|---:|---:|---:|"
    )
    for way, those in runs.items():
        ratio = median(a.seconds / b.seconds for a, b in zip(those, first, strict=True))
        cost = median(a.workers.seconds / b.workers.seconds for a, b in zip(those, first, strict=True))
        print(
            f"| {way} | {given.mib * MIB / 1e6 / median(one.seconds for one in those):,.0f} | {ratio:.2f} "
            f"| {median(one.client.seconds for one in those):.2f} "
            f"| {median(one.workers.seconds for one in those):.2f} | {cost:.2f} |"
        )


if __name__ == "__main__":
    main()
