"""HTML of handles and results: Python's own parser of HTML decides, and h5py says which chunks are stored."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5.reader.file_bytes import FileBytes
from tests.deadlock import DEADLOCK_SECONDS

HOSTILE = "<script>alert(1)<\\script>\"'&<img src=x onerror=alert(2)>"
VOID = {"meta", "img"}
SILENT = pytest.mark.filterwarnings("ignore::streamh5.InterruptedWriteWarning")


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Reader:
    """Parse HTML that may stand anywhere: nothing in it is executed or loaded."""
    found = Reader(text)
    assert not {"script", "img", "iframe", "object", "link", "base", "form", "style script"} & set(found.tags)
    names = {name for name, _ in found.attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "href", "action"}
    assert "url(" not in text
    assert "@import" not in text
    return found


def html(one: Any) -> str:
    """Return the HTML without the style."""
    return str(one._repr_html_()).partition("</style>")[2]


def n_filled(text: str) -> int:
    """Return the number of cells with stored chunks of all faces."""
    return sum(path.count("M") for path in re.findall(r'<path fill-opacity="[01][.][^"]*" d="([^"]*)"', text))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / f"{HOSTILE[:20]}.h5"


def everything(path: Path) -> Iterator[Any]:
    """Yield every object that has HTML, with hostile names and values wherever there can be some."""
    with streamh5.File(path, "w") as file:
        file.attrs[HOSTILE] = HOSTILE
        group = file.create_group(HOSTILE)
        data = group.create_dataset(HOSTILE, (40, 40), "f4", chunks=(10, 10), compression="gzip")
        data.attrs[HOSTILE] = [HOSTILE, HOSTILE]
        data[:20] = 1
        group.create_dataset("compound", (2,), np.dtype([(HOSTILE, "f4")]), chunks=(1,))
        file["type"] = np.dtype([(HOSTILE, "f4")])
        file["soft"] = streamh5.SoftLink("/" + HOSTILE)
        file["external"] = streamh5.ExternalLink(HOSTILE, "/" + HOSTILE)
        yield from (file, group, data, file["type"], group["compound"])
    yield from (file, group, data)  # closed
    assert file.summary is not None
    found = streamh5.inspect(path)
    yield from (file.summary, found, *found.datasets, found.cloud(), streamh5.verify(path))
    damaged = path.with_name("damaged.h5")
    content = bytearray(path.read_bytes())
    with h5py.File(path) as stored:
        chunk = stored[HOSTILE][HOSTILE].id.get_chunk_info(0)
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    damaged.write_bytes(content)
    yield streamh5.verify(damaged)
    yield streamh5.convert(path, path.with_name("copy.h5"))


def test_hostile_names_and_values_are_text_everywhere(path: Path) -> None:
    for one in everything(path):
        found = read(one._repr_html_())
        assert "alert(1)" not in "".join(str(value) for _, value in found.attributes)
    page = streamh5.inspect(path).to_html()
    assert HOSTILE in read(page).text
    assert page.startswith("<!DOCTYPE html>")


def test_shades_of_a_plane_are_the_chunks_that_h5py_sees(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (100, 70), "i4", chunks=(10, 10), compression="gzip")
        dataset[20:30] = 7
        dataset[55, 33] = 1
        n_stored = dataset.id.get_num_chunks()
    found = streamh5.inspect(path)["x"]
    assert n_filled(html(found)) == n_stored == 8
    assert "8 of 70 chunks are stored" in html(found)


def test_handle_shows_the_chunks_that_are_stored_so_far(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (100, 70), "i4", chunks=(10, 10), compression="gzip")
        assert "0 of 70 chunks are stored" in html(dataset)
        dataset[20:30] = 7
        file.session.wait()
        assert "7 of 70 chunks are stored" in html(dataset)
        assert n_filled(html(dataset)) == 7
    assert "7 of 70 chunks are stored" in html(dataset)
    assert "closed" in html(dataset)


def test_box_shows_three_faces(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (3, 4, 5), "i4", chunks=(1, 1, 1), data=np.ones((3, 4, 5), "i4"))
        file.session.wait()
        assert n_filled(html(dataset)) == 4 * 5 + 3 * 5 + 3 * 4


def _closed(file: streamh5.File) -> None:
    file.close()


def _aborted(file: streamh5.File) -> None:
    file.abort()


def _suspended(file: streamh5.File) -> None:
    file.suspend()


def _failed(file: streamh5.File) -> None:
    with pytest.raises(ZeroDivisionError), file:
        raise ZeroDivisionError


def _removed(file: streamh5.File) -> None:
    del file["g"]
    file.close()


def _resized(file: streamh5.File) -> None:
    dataset = file["g/x"]
    assert isinstance(dataset, streamh5.Dataset)
    dataset.resize((3, 20))
    dataset.resize((0, 0))
    file.close()


@pytest.mark.parametrize("end", [_closed, _aborted, _suspended, _failed, _removed, _resized])
@SILENT
def test_handles_have_html_whatever_happened_to_their_file(
    end: Callable[[streamh5.File], None], tmp_path: Path
) -> None:
    file = streamh5.File(tmp_path / "a.h5", "w")
    group = file.create_group("g")
    grows = group.create_dataset("x", (40, 40), "f4", chunks=(10, 10), maxshape=(None, None))
    grows[:20] = 1
    rows = group.create_dataset("rows", (None, 3), "f4", chunks=(10, 3))
    rows.append(np.ones((25, 3), "f4"))
    nothing = group.create_dataset("null", dtype="f4")
    empty = group.create_dataset("empty", (0, 3), "f4", chunks=(1, 3))
    virtual = file.create_virtual_dataset("v", streamh5.VirtualLayout((3,), "f4"))
    handles = (file, group, grows, rows, nothing, empty, virtual)
    end(file)
    for one in handles:
        read(one._repr_html_())


def test_objects_of_the_file_that_is_changed_are_shown_without_reading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as made:
        made.create_dataset("x", data=np.ones((40, 40)), chunks=(10, 10)).attrs["units"] = "K"
    with streamh5.File(path, "a") as file:
        handle = file["x"]

        def refuse(*_: Any) -> Any:
            raise AssertionError("read")

        with monkeypatch.context() as patched:
            patched.setattr(FileBytes, "read", refuse)
            shown = read(html(handle)).text
            assert "units" in shown
            assert "(in the file)" in shown
            assert "(40, 40)" in read(html(file)).text


def test_neither_the_picture_nor_a_write_waits_for_the_other(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (40, 40), "f4", chunks=(10, 10))
        begun, end = threading.Event(), threading.Event()

        def hold() -> None:
            with file.session.call(), file.session._engine.lock, dataset._lock:
                begun.set()
                end.wait(DEADLOCK_SECONDS)

        def write() -> None:
            dataset._turns.alone(hold)

        writer = threading.Thread(target=lambda: file.session.appends.alone(write))
        writer.start()
        assert begun.wait(DEADLOCK_SECONDS)
        found: list[str] = []
        reader = threading.Thread(target=lambda: found.extend(map(html, (file, dataset))))
        reader.start()
        reader.join(DEADLOCK_SECONDS)
        is_shown = len(found) == 2
        end.set()
        writer.join()
        reader.join()
        assert is_shown


def test_size_is_bounded_for_many_objects_and_many_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        for i in range(100):
            group = file.create_group(f"g{i}")
            for k in range(99):
                group.create_group(f"h{k}").attrs["a"] = k
        large = file.create_dataset("large", (1000, 1000), "u1", chunks=(1, 1))
        large[:300] = np.ones((300, 1000), "u1")
        deep = "/".join(["d"] * 1000)
        file.create_group(deep)
        for i in range(1000):
            large.attrs[f"a{i}"] = "x" * 1000
        file.session.wait()
        assert len(html(file)) < 60_000
        assert len(html(large)) < 40_000
    found = streamh5.inspect(path)
    assert len(found.to_html()) < 60_000
    assert "and 62 more" in html(found)
    assert "300,000 of 1,000,000 chunks are stored" in html(found["large"])


def test_many_datasets_have_a_picture_each_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        for i in range(3):
            for k in range(40):
                file.create_dataset(f"g{i}/x{k}", (20, 20, 20), "f4", chunks=(1, 1, 1))
    page = streamh5.inspect(path).to_html()
    assert page.count("chunks are stored</title>") == 50
    assert page.count("(20, 20, 20)") >= 120
    assert len(page) < 600_000


def test_verdicts_of_verify_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    da.arange(1000, chunks=100).to_fixed_h5(path, "/x", fletcher32=True)
    assert ">good<" in html(streamh5.verify(path))
    with h5py.File(path) as file:
        chunk = file["x"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset] ^= 1
    path.write_bytes(content)
    shown = html(streamh5.verify(path))
    assert ">damaged<" in shown
    assert "Damaged chunks (1)" in shown


def test_verdicts_of_the_cloud_report_are_shown(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file.create_dataset("x", data=np.ones((1200, 1200)), chunks=(50, 50))
    report = streamh5.inspect(tmp_path / "bad.h5").cloud()
    text = read(html(report)).text
    assert "not right for the cloud" in text
    for check in report.checks:
        assert check.found[:300] in text
        assert check.advice[:300] in text


def test_json_of_an_inspection_has_no_picture(tmp_path: Path) -> None:
    da.ones((4, 4), chunks=2).to_fixed_h5(tmp_path / "a.h5", "/x")
    found = streamh5.inspect(tmp_path / "a.h5")
    facts = json.loads(json.dumps(found.to_dict()))
    assert "chunk_cells" not in facts["datasets"][0]
    assert facts["datasets"][0]["n_chunks"] == 4


def test_dataset_of_an_inspection_is_found_by_its_path(tmp_path: Path) -> None:
    da.ones((4, 4), chunks=2).to_fixed_h5(tmp_path / "a.h5", "/run/temperature")
    found = streamh5.inspect(tmp_path / "a.h5")
    assert found["/run/temperature"] is found["run/temperature"] is found.datasets[0]
    with pytest.raises(KeyError, match="did you mean '/run/temperature'"):
        found["run/temprature"]


def test_style_has_colours_for_dark_themes_of_jupyter_vscode_and_sphinx() -> None:
    from streamh5.display.document import STYLE, page

    for place in ('data-jp-theme-light="false"', "vscode-dark", 'data-theme="dark"'):
        assert place in STYLE
    assert "prefers-color-scheme:dark" in page("a", "b")
    assert "<title>&lt;a&gt;</title>" in page("<a>", "b")
