"""The scripts of the Slurm page run, with processes of this machine as tasks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from tests.deadlock import DEADLOCK_SECONDS
from tests.recipes.pages import ROOT, Script, run, scripts


class TestSlurm:
    """The scripts run here with a ``srun`` that starts its command once for each task, and passes SIGTERM on."""

    SRUN = (
        "#!/bin/bash\n"
        '[[ $1 == "--cpus-per-task=$SLURM_CPUS_PER_TASK" ]] || exit 2\n'
        "shift\n"
        "trap 'kill $(jobs -p); wait' TERM\n"
        'for _ in $(seq "$SLURM_NTASKS"); do "$@" & done\n'
        "wait\n"
    )
    JOBQUEUE = (
        "from distributed import LocalCluster\n"
        "class SLURMCluster(LocalCluster):\n"
        "    def __init__(self, *, cores, memory, walltime, worker_extra_args):\n"
        "        super().__init__(n_workers=1, threads_per_worker=1, dashboard_address=':0')\n"
        "    def adapt(self, *, minimum_jobs, maximum_jobs):\n"
        "        return super().adapt(minimum=minimum_jobs, maximum=2)\n"
    )

    KILLED = "resume=True, progress=lambda done, _: done and os.kill(os.getpid(), 9)"

    def submit(self, job: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a batch script as Slurm does: a failing command does not end it."""
        return subprocess.run(
            ["bash", "-c", job],
            cwd=folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLOCK_SECONDS,
        )

    def prepare(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        (tmp_path / "srun").write_text(self.SRUN)
        (tmp_path / "srun").chmod(0o755)
        (tmp_path / "dask").write_text(f'#!/bin/bash\nexec {sys.executable} -m dask "$@"\n')
        (tmp_path / "dask").chmod(0o755)
        (tmp_path / "dask_jobqueue.py").write_text(self.JOBQUEUE)
        monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
        settings = {"JOB_ID": "17", "NTASKS": "2", "CPUS_PER_TASK": "1", "MEM_PER_CPU": "1024"}
        for name, value in settings.items():
            monkeypatch.setenv(f"SLURM_{name}", value)
        activate = tmp_path / "venv" / "bin" / "activate"
        activate.parent.mkdir(parents=True)
        activate.touch()
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
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
        done = self.submit(job, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "written by" in done.stdout  # by one worker or two: on a busy machine one may take all blocks
        self.check(tmp_path / "slurm.h5")
        assert not list(tmp_path.glob("scheduler-*"))

        again = self.submit(job, tmp_path)
        assert again.returncode == 1
        assert "DestinationExistsError" in again.stderr
        self.check(tmp_path / "slurm.h5")

    def test_job_whose_write_fails_ends_with_its_status(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, write, job, _ = self.prepare(tmp_path, monkeypatch)
        (tmp_path / "write.py").write_text(write.replace("slurm.h5", "no-such-folder/slurm.h5"))
        done = self.submit(job, tmp_path)
        assert done.returncode == 1
        assert "no-such-folder" in done.stderr
        assert not list(tmp_path.glob("scheduler-*"))
        assert "End worker" in done.stderr
        assert "End scheduler" in done.stderr

    def test_job_that_is_killed_and_submitted_again_is_accepted_and_completes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, write, job, _ = self.prepare(tmp_path, monkeypatch)
        (tmp_path / "write.py").write_text(write.replace("resume=True", self.KILLED))
        assert self.submit(job, tmp_path).returncode == 128 + 9
        assert not (tmp_path / "slurm.h5").exists()
        assert (tmp_path / "slurm.h5.partial").exists()

        (tmp_path / "write.py").write_text(write)
        done = self.submit(job, tmp_path)
        assert done.returncode == 0, done.stderr
        self.check(tmp_path / "slurm.h5")
        assert not list(tmp_path.glob("slurm.h5.partial*"))

    def test_script_with_jobqueue(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        *_, jobqueue = self.prepare(tmp_path, monkeypatch)
        (tmp_path / "jobqueue.py").write_text(jobqueue)
        run(Script("bash", "python jobqueue.py"), tmp_path)
        self.check(tmp_path / "jobqueue.h5")
