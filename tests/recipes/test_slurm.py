"""The scripts of the Slurm page run, with processes of this machine as tasks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import h5py
import pytest

from tests.recipes.pages import Script, run, scripts


class TestSlurm:
    """The scripts run here with a ``srun`` that starts its command once for each task."""

    SRUN = '#!/bin/bash\nfor _ in $(seq "$SLURM_NTASKS"); do "$@" & done\nwait\n'
    JOBQUEUE = (
        "from distributed import LocalCluster\n"
        "class SLURMCluster(LocalCluster):\n"
        "    def __init__(self, *, cores, memory, walltime, worker_extra_args):\n"
        "        super().__init__(n_workers=1, threads_per_worker=1, dashboard_address=':0')\n"
        "    def adapt(self, *, minimum_jobs, maximum_jobs):\n"
        "        return super().adapt(minimum=minimum_jobs, maximum=2)\n"
    )

    def prepare(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        (tmp_path / "srun").write_text(self.SRUN)
        (tmp_path / "srun").chmod(0o755)
        (tmp_path / "dask").write_text(f'#!/bin/bash\nexec {sys.executable} -m dask "$@"\n')
        (tmp_path / "dask").chmod(0o755)
        (tmp_path / "dask_jobqueue.py").write_text(self.JOBQUEUE)
        monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
        for name, value in {"JOB_ID": "17", "NTASKS": "2", "CPUS_PER_TASK": "1"}.items():
            monkeypatch.setenv(f"SLURM_{name}", value)
        return [one.text for one in scripts("slurm")]

    def check(self, path: Path) -> None:
        with h5py.File(path) as file:
            assert file["x"].shape == (4000, 1000)
            assert 0.49 < file["x"][...].mean() < 0.51

    def test_script_for_one_node(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        one_node, *_ = self.prepare(tmp_path, monkeypatch)
        run(Script("bash", one_node), tmp_path)
        self.check(tmp_path / "one_node.h5")

    def test_script_with_a_cluster_inside_the_job(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, write, job, _ = self.prepare(tmp_path, monkeypatch)
        (tmp_path / "write.py").write_text(write)
        assert "written by 2" in run(Script("bash", job), tmp_path)
        self.check(tmp_path / "slurm.h5")
        assert not list(tmp_path.glob("scheduler-*"))

    def test_script_with_jobqueue(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        *_, jobqueue = self.prepare(tmp_path, monkeypatch)
        (tmp_path / "jobqueue.py").write_text(jobqueue)
        run(Script("bash", "python jobqueue.py"), tmp_path)
        self.check(tmp_path / "jobqueue.h5")
