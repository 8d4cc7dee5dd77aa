"""The notebooks run, and what is committed shows an executed one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.deadlock import DEADLOCK_SECONDS

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "streamh5"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_NBYTES = 500_000


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def n_pictures(notebook: Any) -> int:
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_notebooks_are_found() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of jupyter_client and zmq, in this process
def test_notebook_executed_now_has_no_error_and_the_same_pictures(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = read(path)
    expected = n_pictures(notebook)
    site, temporary = tmp_path / "site", tmp_path / "temporary"
    temporary.mkdir()
    shutil.copytree(PACKAGE, site / PACKAGE.name)  # what an installation has, and nothing of the checkout
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("TMPDIR", str(temporary))
    nbclient.NotebookClient(
        notebook, timeout=DEADLOCK_SECONDS, resources={"metadata": {"path": str(temporary)}}
    ).execute()  # an error in a cell raises
    assert n_pictures(notebook) == expected
    warned = [o for cell in code_cells(notebook) for o in cell.outputs if o.get("name") == "stderr"]
    assert warned == []
    assert [path for path in temporary.rglob("*") if path.suffix != ".pyc" and path.is_file()] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_as_committed_is_executed_in_order_and_small(path: Path) -> None:
    notebook = read(path)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    kinds = {output.output_type for cell in code_cells(notebook) for output in cell.outputs}
    assert kinds <= {"stream", "display_data", "execute_result"}
    assert n_pictures(notebook) > 0
    assert path.stat().st_size < MAX_NBYTES
