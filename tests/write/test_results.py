"""What calls return: values for JSON everywhere, and one name for each chunk index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamh5
from streamh5.cli.demo import chunk_index_name
from streamh5.cli.main import main

INDEXES = [
    ("v108", (10, 10), None, "v1 B-tree"),
    ("v110", (2, 2), None, "Single Chunk"),
    ("v110", (10, 10), None, "Fixed Array"),
    ("v110", (10, 10), (None, 10), "Extensible Array"),
    ("v110", (10, 10), (None, None), "v2 B-tree"),
]


def test_results_have_values_for_json(tmp_path: Path) -> None:
    path, out = tmp_path / "a.h5", tmp_path / "b.h5"
    with streamh5.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(20), chunks=(5,))
        file["text"] = ["a"]
    inspected, conversion = streamh5.inspect(path), streamh5.convert(path, out)
    references = streamh5.read_references(path)
    results: list[Any] = [
        inspected, inspected.datasets[0], inspected.groups[0], streamh5.verify(path), conversion,
        conversion.summary, conversion.summary.datasets[0], references, references.manifest()["/x"],
        *conversion.arrays,
    ]  # fmt: skip
    for result in results:
        json.dumps(result.to_dict())
    assert references.manifest()["/x"].to_dict()["numbers"] == [0, 1, 2, 3]
    assert conversion.to_dict()["path"] == str(out)


@pytest.mark.parametrize(("libver", "shape", "maxshape", "name"), INDEXES)
def test_chunk_index_has_one_name_for_summary_inspect_and_library(
    tmp_path: Path, libver: str, shape: tuple[int, int], maxshape: tuple[int | None, ...] | None, name: str
) -> None:
    import h5py

    path = tmp_path / "x.h5"
    file = streamh5.File(path, "w", libver=libver)
    file.create_dataset("x", data=np.ones(shape), chunks=(2, 2), maxshape=maxshape)
    summary = file.close()
    with h5py.File(path) as found:
        assert chunk_index_name(found["x"]) == name
    assert summary.datasets[0].index == streamh5.inspect(path).datasets[0].storage == name


def test_references_in_parquet_without_output_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.h5"
    with streamh5.File(path, "w") as file:
        file["x"] = [1, 2]
    assert main(["references", "--format", "parquet", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "--output" in printed.err
    with pytest.raises(streamh5.errors.SpecError, match="path"):
        streamh5.read_references(path).to_kerchunk(format="parquet")
