"""``--storage-option NAME=VALUE``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamh5.cli.main import main
from streamh5.cli.storage_options import STORAGE_OPTION
from tests.stores.servers import S3Server


def parsed(*arguments: str) -> Any:
    parser = argparse.ArgumentParser()
    names, settings = STORAGE_OPTION
    parser.add_argument(*names, **settings)
    return parser.parse_args(arguments).storage_options


def test_without_options_there_are_none() -> None:
    assert parsed() is None


def test_values_are_json_or_text() -> None:
    given = {
        "anon=true": True,
        "endpoint_url=http://host:9000/?a=b": "http://host:9000/?a=b",
        "max_concurrency=4": 4,
        'client_kwargs={"region_name": "x"}': {"region_name": "x"},
        'key="123"': "123",
        "secret=": "",
    }
    arguments = [word for text in given for word in ("--storage-option", text)]
    assert parsed(*arguments) == {text.partition("=")[0]: value for text, value in given.items()}


@pytest.mark.parametrize("text", ["verysecret", "=verysecret"])
def test_what_is_not_an_option_is_refused_without_showing_it(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed("--storage-option", text)
    assert "argument --storage-option: write NAME=VALUE" in (printed := capsys.readouterr().err)
    assert "secret" not in printed


def test_convert_writes_an_object(
    s3_server: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "in.npy", np.arange(10.0))
    url = s3_server.url()
    options = [f"--storage-option={name}={value}" for name, value in s3_server.options().items()]
    assert main(["convert", str(tmp_path / "in.npy"), url, *options]) == 0
    assert main(["convert", str(tmp_path / "in.npy"), url, *options]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "in.npy"), url, "--overwrite", "--safe", *options]) == 0
    capsys.readouterr()
    assert main(["verify", url, *options]) == 0
    assert main(["inspect", url, *options]) == 0
    said = capsys.readouterr()
    assert "/data" in said.out
    assert s3_server.options()["secret"] not in said.out + said.err
