"""``--storage-option NAME=VALUE``."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from streamh5.cli.storage_options import STORAGE_OPTION


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
