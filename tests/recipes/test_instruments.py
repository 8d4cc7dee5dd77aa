"""Files of detectors and microscopes: NeXus from bluesky, and BigDataViewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.recipes.pages import Script, printed, run, run_page, scripts

LIVE = """
import h5py, glob
compose = event_model.compose_run()
writer = NexusWriter(flush_seconds=0)
writer("start", compose.start_doc)
keys = {"x": {"source": "s", "dtype": "number", "shape": []}, "label": {"source": "s", "dtype": "string", "shape": []}}
stream = compose.compose_descriptor(name="primary", data_keys=keys)
writer("descriptor", stream.descriptor_doc)

def event(i):
    return stream.compose_event(data={"x": i / 2, "label": f"é{i}"}, timestamps={"x": i, "label": i})

def seen():
    with h5py.File(glob.glob("*.h5")[0]) as file:
        values = file["entry/primary/x"][...]
        assert (values == np.arange(len(values)) / 2).all()
        assert file["entry/primary/label"].asstr()[-1] == f"é{len(values) - 1}"
        return len(values)

for i in range(2):
    writer("event", event(i))
    print(seen())
writer("event_page", event_model.pack_event_page(*[event(i) for i in range(2, 5)]))
writer("stop", compose.compose_stop())
print(seen())
"""


def test_nexus_file_of_a_bluesky_run_is_what_nexusformat_plots(tmp_path: Path) -> None:
    pytest.importorskip("bluesky")
    output = run_page("bluesky", tmp_path)
    assert output.splitlines() == printed("bluesky")
    good, failed = sorted(tmp_path.glob("*.h5"), key=lambda path: -path.stat().st_size)
    expected = [np.random.default_rng(i).poisson(3, (128, 128)) for i in range(50)]
    with h5py.File(good) as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        assert (entry.attrs["NX_class"], data.attrs["NX_class"]) == ("NXentry", "NXdata")
        np.testing.assert_array_equal(data[data.attrs["signal"]][...], expected)
        np.testing.assert_array_equal(data["camera_sum"][...], [frame.sum() for frame in expected])
        assert data.attrs["axes"].tolist() == ["time", ".", "."]
        assert (np.diff(data["time"][...]) > 0).all()
        assert entry["sample/name"].asstr()[()] == "CeO2"
    with h5py.File(failed) as file:
        np.testing.assert_array_equal(file["entry/primary/camera_image"][...], expected[:7])
        assert file["entry/exit_reason"].asstr()[()] == "the camera does not answer"

    nexusformat = pytest.importorskip("nexusformat.nexus")
    root = nexusformat.nxload(good)
    assert root.plottable_data.nxsignal.nxname == "camera_image"
    assert root.plottable_data.nxaxes[0].nxname == "time"


def test_viewer_finds_frames_of_the_bluesky_writer_while_it_writes(tmp_path: Path) -> None:
    """Documents by hand: a reader looks between two events."""
    pytest.importorskip("event_model")
    (page,) = [one.text for one in scripts("bluesky", n_blocks=1)]
    script = page + LIVE
    assert run(Script("python", script), tmp_path).split() == ["1", "2", "5"]


def test_pyramid_of_the_recipe_is_what_npy2bdv_reads(tmp_path: Path) -> None:
    npy2bdv = pytest.importorskip("npy2bdv")
    output = run_page("bigdataviewer", tmp_path)
    assert output.splitlines() == printed("bigdataviewer")
    viewer = npy2bdv.BdvEditor(str(tmp_path / "volume.xml"), mode="r")
    for time in range(2):
        whole = viewer.read_view(time=time, ilevel=0)
        assert whole.shape == (64, 256, 256)
        assert abs(whole.mean() - (100 + 10 * time)) < 0.1
        for number, factors in enumerate([(1, 1, 1), (1, 2, 2), (2, 4, 4)]):
            small = viewer.read_view(time=time, ilevel=number)
            expected = blocks_mean(whole, factors)
            np.testing.assert_array_equal(small, expected)
    assert viewer.get_view_property("voxel_size") == (0.5, 0.5, 2.0)
    viewer.finalize()


def test_pyramid_of_the_recipe_has_the_layout_that_npy2bdv_writes(tmp_path: Path) -> None:
    npy2bdv = pytest.importorskip("npy2bdv")
    run_page("bigdataviewer", tmp_path, N_TIMES=1)
    levels = ((1, 1, 1), (1, 2, 2), (2, 4, 4))
    writer = npy2bdv.BdvWriter(
        str(tmp_path / "other.h5"), subsamp=levels, blockdim=((16, 64, 64),) * 3, compression="gzip"
    )
    writer.append_view(np.zeros((64, 256, 256), "u2"))
    writer.write_xml()
    writer.close()
    assert layout(tmp_path / "volume.h5") == layout(tmp_path / "other.h5")


def layout(path: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}

    def visit(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            small = node[...].tolist() if node.ndim == 2 else None
            found[name] = (node.dtype, node.shape, node.chunks if node.ndim == 3 else None, small)

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def blocks_mean(values: Any, factors: tuple[int, ...]) -> Any:
    z, y, x = (n // factor for n, factor in zip(values.shape, factors, strict=True))
    parts = values.reshape(z, factors[0], y, factors[1], x, factors[2])
    return parts.mean(axis=(1, 3, 5)).round()
