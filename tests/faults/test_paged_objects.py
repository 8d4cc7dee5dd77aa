"""Objects with pages whose write is killed between two requests: resumed and salvaged, they obey the rule of pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import streamh5
from streamh5.errors import JournalError
from streamh5.stores import memory
from tests.faults import object_states
from tests.faults.object_states import URL, State
from tests.faults.tally import tried
from tests.readers.page_buffer import assert_paged

WRITES = [object_states.write_grid, object_states.write_rows]


def check(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert_paged(path)
    report = streamh5.verify(path)
    assert report.ok, report
    assert not report.n_unbuffered, report


@pytest.mark.parametrize("page", [True, 4096, 1 << 16])
@pytest.mark.parametrize("write", WRITES)
def test_killed_write_is_resumed_and_salvaged_with_pages(
    page: Any, write: Callable[..., int], journal: Path, tmp_path: Path, memory_objects: Any
) -> None:
    states: list[State] = []
    with object_states.recorded(journal, states):
        write(journal, page=page)
    some = states[:: max(1, len(states) // 6)]
    n_salvaged = 0
    for state in some:
        state.restore(journal)
        write(journal, page=page)
        check(tmp_path / "a.h5", memory_objects.cat_file(URL))
        state.restore(journal)
        memory_objects.store.clear()
        try:
            streamh5.salvage(journal)
        except JournalError:  # nothing is there yet
            memory._UPLOADS.clear()
        else:
            check(tmp_path / "a.h5", memory_objects.cat_file(URL))
            n_salvaged += 1
        memory_objects.store.clear()
        journal.unlink(missing_ok=True)
    assert n_salvaged > 3
    tried("kill of a write of an object with pages", len(some))
