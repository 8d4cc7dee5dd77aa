"""The journal file: a Ctrl-C at any line of its code loses no entry, nor the lock of the file that has the name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from streamh5.errors import DestinationBusyError
from streamh5.sinks import files, journal_file
from streamh5.sinks.journal_file import JournalFile
from streamh5.sinks.locks import open_journal

FIRST = b"".join(b"entry %04d" % i for i in range(40))
ENTRY = b"a long entry, of which a shorter one would leave an end"


class Interrupted(BaseException):
    """Raised at any line, as by a signal handler."""


def interrupted_at(line: int, call: Callable[[], object]) -> bool:
    """Call a function, and raise at the n-th line of the module that it runs; tell whether it ran so many."""
    n = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal n
        if frame.f_code.co_filename != journal_file.__file__:
            return None
        n += event == "line"
        if event == "line" and n == line:
            sys.settrace(None)
            raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(Interrupted):
            call()
    finally:
        sys.settrace(before)
    return n >= line


def is_locked(path: Path) -> bool:
    try:
        fd, _ = open_journal(path, path.with_name("a.h5"), 0o600, os)
    except DestinationBusyError:
        return True
    os.close(fd)
    return False


@pytest.mark.parametrize("sync_data", [None, lambda: None], ids=["written", "synced"])
def test_entries_that_wait_are_written_after_a_flush_interrupted_at_any_line(
    sync_data: Callable[[], None] | None, tmp_path: Path
) -> None:
    line, has_ended = 0, False
    while not has_ended:
        line += 1
        fd, _ = open_journal(tmp_path / f"journal{line}", tmp_path / "a.h5", 0o600, os)
        journal = JournalFile(fd, os)
        journal.add(FIRST, 0)
        journal.flush()
        journal.add(ENTRY, 0)
        has_ended = not interrupted_at(line, lambda one=journal: one.flush(sync_data))  # type: ignore[misc]
        journal.add(b"next", 0)
        journal.flush(sync_data)
        assert (tmp_path / f"journal{line}").read_bytes() == FIRST + ENTRY + b"next", line
        os.close(fd)
    assert line > 10


def test_journal_whose_replacement_is_interrupted_at_any_line_is_the_file_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "MIN_SHORTENED_NBYTES", 1)
    line, has_ended, contents = 0, False, set[bytes]()
    while not has_ended:
        line += 1
        path = tmp_path / f"journal{line}"
        fd, _ = open_journal(path, tmp_path / "a.h5", 0o600, os)
        journal = JournalFile(fd, os)
        journal.add(FIRST, 0)
        journal.flush()

        def replace(content: bytes, one: JournalFile = journal, path: Path = path) -> None:
            one.replace(path, tmp_path / "a.h5", content, 0o600, lambda _: None)

        def shorten(one: JournalFile = journal, replace: Callable[[bytes], None] = replace) -> None:
            one.shorten(lambda log: log[-20:], replace)

        has_ended = not interrupted_at(line, shorten)
        assert files.leads_to(path, journal.fd), line
        assert is_locked(path), line
        journal.add(b"next", 0)
        journal.flush()
        contents.add(path.read_bytes())
        os.close(journal.fd)
    assert contents == {FIRST + b"next", FIRST[-20:] + b"next"}
