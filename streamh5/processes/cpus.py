"""How many processors this process may use."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path


def available_cpus() -> int:
    """Return the number of processors that affinity and the control group leave to this process, at least 1.

    As dask's ``CPU_COUNT``, whose import takes 0.1 s.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # on Linux
    n_cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(n_cpus, _quota()))


def _quota() -> int:
    """Return the limit of the control group, rounded up; a very large number without one."""
    with suppress(OSError, ValueError, ZeroDivisionError):  # version 2
        group = Path("/proc/self/cgroup").read_text().strip().split(":")[-1]
        quota, period = Path(f"/sys/fs/cgroup{group}/cpu.max").read_text().split()
        return math.ceil(int(quota) / int(period))
    for folder in ("cpuacct,cpu", "cpu,cpuacct"):
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (
                Path(f"/sys/fs/cgroup/{folder}/cpu.cfs_{what}_us").read_text() for what in ("quota", "period")
            )
            if int(quota) > 0:
                return math.ceil(int(quota) / int(period))
    return 2**31
