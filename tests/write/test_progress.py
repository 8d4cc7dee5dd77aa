"""Progress in a kernel of Jupyter: a widget, or text where ipywidgets is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deadlock import DEADLOCK_SECONDS

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

WIDGET = "application/vnd.jupyter.widget-view+json"

SETUP = "import dask.array as da, streamh5\nx = da.ones((40, 1000, 100), chunks=(10, 1000, 100))"
CELLS = {
    "to_fixed_h5": "x.to_fixed_h5('a.h5', '/x')",
    "verify": "streamh5.verify('a.h5')",
    "verify in a child": "streamh5.verify('a.h5', safe=True)",
    "convert": "streamh5.convert('a.h5', 'b.h5')",
    "convert in a child": "streamh5.convert('a.h5', 'c.h5', compression='lzf', safe=True)",
    "to_netcdf": "import xarray as xr\nxr.Dataset({'x': (('t', 'y', 'x'), x)}).streamh5.to_netcdf('a.nc')",
    "cluster": (
        "from distributed import Client\n"
        "with Client(n_workers=1, threads_per_worker=1, dashboard_address=None) as client:\n"
        "    x.to_fixed_h5('d.h5', '/x')"
    ),
}
QUIET = "x.to_fixed_h5('e.h5', '/x', progress=False)"
FAILING = """
def fail(block):
    raise RuntimeError('as intended')
try:
    x.map_blocks(fail, dtype='f8').to_fixed_h5('f.h5', '/x')
except RuntimeError:
    pass
"""


def executed(tmp_path: Path, *, without_widgets: bool = False) -> Any:
    cells = [SETUP, *CELLS.values(), QUIET, FAILING]
    if without_widgets:
        cells[0] = "import sys\nsys.modules['ipywidgets'] = None\n" + cells[0]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=DEADLOCK_SECONDS, resources=resources).execute()
    return notebook


def widgets(cell: Any) -> list[str]:
    """Return the numbers of the widgets that a cell shows."""
    return [one.data[WIDGET]["model_id"] for one in cell.outputs if WIDGET in one.get("data", {})]


def text(cell: Any) -> str:
    return "".join(one.text for one in cell.outputs if one.output_type == "stream")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of jupyter_client and zmq, in this process
def test_kernel_with_ipywidgets_shows_a_widget_that_is_full_at_the_end(tmp_path: Path) -> None:
    pytest.importorskip("ipywidgets")
    pytest.importorskip("distributed")
    notebook = executed(tmp_path)
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    for name, cell in zip(CELLS, notebook.cells[1:], strict=False):
        assert len(widgets(cell)) == 1, name
        box = states[widgets(cell)[0]]["state"]
        _, bar, _ = (states[child.removeprefix("IPY_MODEL_")]["state"] for child in box["children"])
        assert bar["value"] == bar["max"] > 0, name
        assert bar["bar_style"] == "success", name
        assert text(cell) == "", name
    *_, quiet, failed = notebook.cells
    assert not widgets(quiet)
    _, bar, _ = states[widgets(failed)[0]]["state"]["children"]
    assert states[bar.removeprefix("IPY_MODEL_")]["state"]["bar_style"] == "danger"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_kernel_without_ipywidgets_shows_text_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    notebook = executed(tmp_path, without_widgets=True)
    for name, cell in zip(CELLS, notebook.cells[1:], strict=False):
        assert not widgets(cell)
        assert "100%" in text(cell), name
        assert "arn" not in text(cell), name
    assert text(notebook.cells[-2]) == ""
