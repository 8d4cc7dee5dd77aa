"""What of a write's options is refused where they are made."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from streamh5.arguments.write_options import WriteOptions
from streamh5.errors import SpecError


@pytest.mark.parametrize(
    ("mode", "advice"), [("r", "h5py"), ("r+", "'a' adds"), ("q", "'w', 'x'"), (None, "'w'")]
)
def test_mode_that_does_not_exist_is_refused_with_what_to_do(mode: Any, advice: str) -> None:
    with pytest.raises(SpecError, match=advice) as caught:
        WriteOptions(mode=mode)
    assert caught.value.facts["mode"] == mode


def test_threads_below_one_are_refused() -> None:
    assert WriteOptions(threads=1).threads == 1
    with pytest.raises(SpecError, match="at least 1"):
        WriteOptions(threads=0)


def test_options_do_not_change_once_they_are_checked() -> None:
    with pytest.raises(FrozenInstanceError):
        WriteOptions().mode = "nonsense"  # type: ignore[misc]
