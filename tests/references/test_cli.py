"""``streamh5 references``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import streamh5
from streamh5.cli.main import main
from tests.references.test_kerchunk import smooth


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    with streamh5.File(path, "x") as file:
        file.create_dataset("good", data=smooth((8, 8)), chunks=(4, 8))
        file.create_dataset("bad", data=smooth((8, 8)), chunks=(4, 8), compression="lzf")
    return path


def test_command_prints_references(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["references", str(path), "--skip", "--url", "s3://b/x.h5"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == streamh5.read_references(path, url="s3://b/x.h5").to_kerchunk(skip=True)
    assert "left out: /bad: numcodecs has no codec for lzf" in printed.err


def test_command_writes_references(path: Path, tmp_path: Path) -> None:
    for name in ("x.json", "x.parquet"):
        assert main(["references", str(path), "--skip", "--output", str(tmp_path / name)]) == 0
        assert (tmp_path / name).exists()
        assert main(["references", str(path), "--skip", "--output", str(tmp_path / name)]) == 2
        assert main(["references", str(path), "--skip", "--overwrite", "--output", str(tmp_path / name)]) == 0


def test_command_names_what_it_cannot_express(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["references", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "/bad: numcodecs has no codec for lzf" in printed.err
    assert "--skip leaves it out" in printed.err
