"""What the processes of a cluster run: scheduler, workers, clients. The fork server imports this module beforehand."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import dask
import distributed
import distributed.cli.dask_scheduler
import distributed.cli.dask_worker
import h5py  # noqa: F401 - loaded before the forks

import streamh5
import streamh5.dask.to_fixed_h5  # loaded before the forks
from tests.cluster import work
from tests.deadlock import DEADLOCK_SECONDS

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000

CONFIG = {
    "distributed.comm.timeouts.connect": "10 s",  # for which a client looks for a scheduler that it has lost
    "distributed.worker.memory.terminate": False,
    "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": "1"},
}


def enter_network(name: str) -> None:
    """Move this process into a network namespace of `ip netns`."""
    fd = os.open(f"/run/netns/{name}", os.O_RDONLY)
    _checked(ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET))
    os.close(fd)


def change_mounts(*commands: str) -> None:
    """Run mount commands that only this process and its children see."""
    _checked(ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS))
    for command in ("mount --make-rprivate /", *commands):
        subprocess.run(command.split(), check=True)


def _checked(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _settle(network: str | None, mounts: tuple[str, ...]) -> None:
    if network is not None:
        enter_network(network)
    if mounts:
        change_mounts(*mounts)
    dask.config.set(CONFIG)


def run_scheduler(file: str, host: str, port: int, network: str | None, worker_ttl: str) -> None:
    _settle(network, ())
    dask.config.set({"distributed.scheduler.worker-ttl": worker_ttl})
    arguments = ["--host", host, "--port", str(port), "--scheduler-file", file, "--no-dashboard"]
    distributed.cli.dask_scheduler.main(arguments, standalone_mode=False)


def run_worker(address: str, name: str, folder: str, options: dict[str, Any]) -> None:
    """Run one worker.

    Parameters
    ----------
    options
        ``nanny``, ``threads``, ``host``; ``network``, a namespace; ``mounts``, commands whose effect only this worker
        sees.
    """
    _settle(options.get("network"), options.get("mounts", ()))
    arguments = [
        address,
        "--name",
        name,
        "--nthreads",
        str(options.get("threads", 1)),
        "--local-directory",
        folder,
        "--no-dashboard",
    ]
    arguments += ["--host", options.get("host", "127.0.0.1"), "--memory-limit", "0"]
    arguments += ["--nanny" if options.get("nanny") else "--no-nanny"]
    distributed.cli.dask_worker.main(arguments, standalone_mode=False)


def run_write(
    address: str,
    path: str,
    probe: work.Probe,
    outcome: str,
    n_workers: int,
    network: str | None,
    keywords: dict[str, Any],
) -> None:
    """Write the array from a client, and put into the file `outcome` how that ended."""
    _settle(network, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore Ctrl-C
    with distributed.Client(address, set_as_default=False) as client:
        if n_workers:
            client.wait_for_workers(n_workers, timeout=DEADLOCK_SECONDS)
        found: dict[str, Any] = {"text": "", "kinds": []}
        try:
            streamh5.to_fixed_h5(path, "/x", work.source(probe), scheduler=client, **keywords)
        except BaseException as error:  # noqa: BLE001 - all of them are told to the test
            found["kinds"] = [kind.__name__ for kind in type(error).__mro__]
            found["text"] = f"{error}\n{getattr(error, 'facts', '')}"
            found["notes"] = getattr(error, "__notes__", [])
            traceback.print_exc()
        new = Path(f"{outcome}.new")
        new.write_text(json.dumps(found))
        new.rename(outcome)


assert streamh5.__version__
assert sys.flags.optimize == 0, "the tests assert"
