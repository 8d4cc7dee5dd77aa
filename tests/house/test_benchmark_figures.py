"""The benchmarks compare like with like: the setting of the expert, and what counts as durable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.benchmarks.contenders import HANDED_OVER, contenders_of
from tests.benchmarks.expert import OWN_SETTING, chosen
from tests.benchmarks.figures import durability_of, ratio_of
from tests.benchmarks.object_store import WAYS, arguments
from tests.benchmarks.readme_picture import BARS, picture_of
from tests.benchmarks.readme_table import rate_of, table_of
from tests.benchmarks.work import WORKS

ROOT = Path(__file__).parents[2]


def timing(seconds: float, own_sync: float = 0.0, sync: float = 0.0) -> dict[str, float]:
    return {"seconds": seconds, "own_sync_seconds": own_sync, "sync_seconds": sync}


def setting(seconds: float, nbytes: int) -> dict[str, float]:
    return {"seconds": seconds, "stored_nbytes": nbytes}


def test_expert_uses_the_fastest_setting_within_one_percent() -> None:
    settings = {
        OWN_SETTING: setting(1.0, 10_000),
        "a little larger": setting(0.8, 10_100),
        "too large": setting(0.5, 10_101),
        "smaller but slower": setting(0.9, 9_000),
    }
    assert chosen(settings) == "a little larger"


def test_expert_and_limit_take_part_once_with_the_chosen_setting() -> None:
    named = [one for one in contenders_of(WORKS["a"], "isal 1 large") if one.setting]
    assert [(one.name, one.setting) for one in named] == [
        ("h5py direct chunks gzip", "isal 1 large"),
        ("limit gzip", "isal 1 large"),
    ]


def test_handed_over_ratio_uses_the_twin_and_durable_ratio_all_syncs() -> None:
    timings: dict[str, Any] = {
        "streamh5 gzip": [timing(2.0, own_sync=0.5, sync=0.0)],
        "streamh5 gzip" + HANDED_OVER: [timing(1.0, sync=9.0)],
        "to_hdf5 gzip-4": [timing(10.0, sync=5.0)],
    }
    work = {"timings": timings}
    handed_over = ratio_of(work, "streamh5 gzip", "to_hdf5 gzip-4", durable=False)
    durable = ratio_of(work, "streamh5 gzip", "to_hdf5 gzip-4", durable=True)
    share = durability_of(work, "streamh5 gzip")
    assert handed_over is not None
    assert durable is not None
    assert share is not None
    assert (handed_over.median, durable.median, share.median) == (10.0, 6.0, 0.4)


def test_ways_to_an_object_are_chosen_by_names_with_commas() -> None:
    assert arguments([]).ways == list(WAYS)
    names = ["local file, s3fs put", "local file only"]
    assert arguments(["--ways", *names]).ways == names


RESULTS = json.loads((ROOT / "docs" / "benchmarks.json").read_text())


def test_picture_of_the_readme_shows_the_figures_on_record() -> None:
    shown = (ROOT / "docs" / "images" / "speed-and-memory.svg").read_text(encoding="utf-8")
    assert shown == picture_of(RESULTS)
    assert ">streamh5<" in shown
    assert shown.count("<rect") == len(BARS)


def test_readme_says_the_rates_on_record() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    work = RESULTS["works"]["a"]
    for name, text in (("to_hdf5 gzip-4", "behind one lock"), ("streamh5 gzip", "without a lock")):
        rate = rate_of(work, name, durable=False)
        assert rate is not None
        assert f"{text}: {rate:.0f} MB/s" in readme
    assert table_of(RESULTS["works"]) in readme
