"""The command line, as a person meets it: other processes, their output and exit status."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, TYPE_CHECKING

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.cli import main as cli
from streamh5.cli.command import Command
from tests.deadlock import DEADLOCK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable


def run_module(
    *arguments: str, stdout: IO[bytes] | int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamh5", *arguments],
        check=False,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLOCK_SECONDS,
    )


def with_command(monkeypatch: pytest.MonkeyPatch, run: Callable[[], int]) -> None:
    monkeypatch.setattr(cli, "COMMANDS", {"act": Command(run, "act", "Act.")})


def test_cli_version_prints_the_version_of_the_package() -> None:
    done = run_module("--version")
    assert (done.returncode, done.stdout) == (0, f"streamh5 {streamh5.__version__}\n")


def test_cli_script_is_the_main_function() -> None:
    scripts = entry_points(group="console_scripts", name="streamh5")
    if not scripts:
        pytest.skip("streamh5 is not installed, it runs from its source tree")
    (script,) = scripts
    assert script.load() is cli.main


def test_cli_without_a_command_ends_with_status_2_and_usage() -> None:
    done = run_module()
    assert done.returncode == 2
    assert done.stderr.startswith("usage: streamh5")


def test_cli_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    assert re.search(r"^ +demo ", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("status", [0, 1])
def test_cli_command_returns_its_status(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    with_command(monkeypatch, lambda: status)
    assert cli.main(["act"]) == status


def test_cli_error_of_ours_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise streamh5.errors.SinkError("the disk is on fire; use another")

    with_command(monkeypatch, fail)
    assert cli.main(["act"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "streamh5: the disk is on fire; use another\n")


def test_cli_interrupt_is_one_line_and_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> int:
        raise KeyboardInterrupt

    with_command(monkeypatch, interrupt)
    assert cli.main(["act"]) == 130
    assert capsys.readouterr().err == "streamh5: interrupted\n"


COMMANDS_ON_A_FILE = (["verify"], ["verify", "--json"], ["inspect"], ["inspect", "--json"], ["references"])


@pytest.mark.parametrize("command", COMMANDS_ON_A_FILE, ids=" ".join)
def test_cli_output_that_nobody_reads_ends_like_sigpipe_and_not_like_damage(
    tmp_path: Path, command: list[str]
) -> None:
    path = tmp_path / "x.h5"
    with streamh5.File(path) as file:
        file["x"] = [1, 2]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        done = run_module(*command, str(path), stdout=output)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("command", COMMANDS_ON_A_FILE, ids=" ".join)
def test_cli_output_without_room_is_one_line_and_status_2(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "x.h5"
    with streamh5.File(path) as file:
        file["x"] = [1, 2]
    with open("/dev/full", "wb") as output:
        done = run_module(*command, str(path), stdout=output)
    assert done.returncode == 2
    assert re.fullmatch(r"streamh5: the output cannot be written: .*\n", done.stderr)


def test_cli_error_of_others_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise ZeroDivisionError

    with_command(monkeypatch, fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["act"])


def test_cli_demo_in_a_missing_directory_is_one_line_and_status_2(tmp_path: Path) -> None:
    done = run_module("demo", str(tmp_path / "missing" / "x.h5"))
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"streamh5: cannot write .*missing.* does not exist; create it first\n", done.stderr)


@pytest.mark.parametrize("size", ["0", "-1GiB", "much"])
def test_cli_demo_size_that_is_none_is_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", f"--size={size}"])
    assert ended.value.code == 2
    assert "argument --size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["verfy", "a.h5"], "did you mean 'verify'"),
        (["inspect", "a.h5", "--jsn"], "did you mean '--json'"),
        (["convert", "a.h5", "b.h5", "--compresion=gzip"], "did you mean '--compression'"),
        (["convert", "a.h5", "b.h5", "--complevel", "4"], "unrecognized arguments: --complevel"),
        (["references", "a.h5", "--format", "jsn"], "did you mean 'json'"),
    ],
)
def test_command_option_or_choice_that_is_misspelt_is_refused_with_the_one_that_was_meant(
    given: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(given)
    assert ended.value.code == 2
    assert meant in capsys.readouterr().err


def test_inspect_html_writes_a_page_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("a.h5", "w") as file:
        file.create_dataset("größe", data=np.ones((4, 4)), chunks=(2, 2))
    assert cli.main(["inspect", "a.h5", "--html"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("<!DOCTYPE html>")
    assert page.isascii()
    assert "gr&#246;&#223;e" in page
    assert "4 of 4 chunks are stored" in page
    assert cli.main(["inspect", "a.h5", "--html", "--output", "a.html"]) == 0
    assert (tmp_path / "a.html").read_text().strip() == page.strip()
    assert cli.main(["inspect", "a.h5", "--html", "--output", "a.html"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert cli.main(["inspect", "a.h5", "--html", "--output", "a.html", "--overwrite"]) == 0
    assert cli.main(["inspect", "a.h5", "--output", "b.html"]) == 2
    assert cli.main(["inspect", "a.h5", "--overwrite"]) == 2
    assert cli.main(["inspect", "a.h5", "--html", "--json"]) == 2
    assert cli.main(["inspect", "a.h5", "--html", "--output", "none/a.html"]) == 2
    assert cli.main(["inspect", "a.h5", "--html", "--output", "s3://bucket/a.html"]) == 2


@pytest.mark.parametrize("name", ["a.h5", "link.html", "hard.html"])
def test_inspect_html_does_not_write_over_the_file_that_it_inspects(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("a.h5", "w") as file:
        file["x"] = 1
    (tmp_path / "link.html").symlink_to("a.h5")
    (tmp_path / "hard.html").hardlink_to("a.h5")
    assert cli.main(["inspect", "a.h5", "--html", "--output", name, "--overwrite"]) == 2
    assert "inspected file itself" in capsys.readouterr().err
    assert h5py.is_hdf5("a.h5")


@pytest.mark.parametrize("command", [["inspect"], ["inspect", "--html"], ["inspect", "--cloud"], ["verify"]])
@pytest.mark.parametrize("is_damaged", [False, True])
def test_names_in_a_file_do_not_reach_the_terminal_as_control_characters(
    command: list[str], is_damaged: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.h5"
    name = "x\x1b]0;title\x07\x1b[2J\r\x9b\u202e"
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=np.ones((4, 4)), chunks=(2, 2), compression="gzip")
        chunk = file[name].id.get_chunk_info(0)
        file.attrs[name] = name
    if is_damaged:
        content = bytearray(path.read_bytes())
        content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
        path.write_bytes(content)
    cli.main([command[0], str(path), *command[1:]])
    shown = capsys.readouterr()
    assert not set("\x1b\x07\r\x9b\u202e") & set(shown.out + shown.err)
    assert is_damaged or command[-1] == "verify" or "x\\x1b]0;title" in shown.out


def test_name_with_a_line_end_is_one_line_of_an_inspection(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x\ndamaged: nothing"] = np.ones(4)
    assert "/x\\ndamaged: nothing" in repr(streamh5.inspect(tmp_path / "a.h5"))


def test_inspect_html_that_fails_leaves_the_old_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("a.h5", "w") as file:
        file["x"] = 1
    command = ["inspect", "a.h5", "--html", "--output", "a.html", "--overwrite"]
    Path("a.html").write_text("old")
    Path("a.html").chmod(0o640)
    with monkeypatch.context() as failing:

        def no_room(path: Path, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        failing.setattr(Path, "write_bytes", no_room)
        assert cli.main(command) == 2
    assert "a.html cannot be written: No space left" in capsys.readouterr().err
    assert Path("a.html").read_text() == "old"
    assert cli.main(command) == 0
    assert Path("a.html").read_text().startswith("<!DOCTYPE html>")
    assert Path("a.html").stat().st_mode & 0o777 == 0o640
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.h5", "a.html"]


@pytest.mark.parametrize("output", ["/dev/null", "folder"])
def test_inspect_html_writes_regular_files_only(
    output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with h5py.File("a.h5", "w") as file:
        file["x"] = 1
    assert cli.main(["inspect", "a.h5", "--html", "--output", output, "--overwrite"]) == 2
    assert "not a regular file" in capsys.readouterr().err


def test_inspect_cloud_judges_every_file_of_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).random((1200, 1200))
    for name in ("bad1.h5", "bad2.h5"):
        with h5py.File(name, "w") as file:
            file.create_dataset("x", data=values, chunks=(50, 50))
    streamh5.to_fixed_h5("good.h5", "/x", values, chunks=(600, 1200), page=True)
    Path("text.h5").write_text("text")
    assert cli.main(["inspect", "--cloud", "good.h5", "good.h5"]) == 0
    assert "2 files: 2 right for the cloud, 0 not" in capsys.readouterr().out
    assert cli.main(["inspect", "--cloud", "bad1.h5", "good.h5", "bad2.h5"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [one.split("  ")[0] for one in lines[:3]] == ["bad1.h5", "good.h5", "bad2.h5"]
    assert [one.endswith("not right for the cloud") for one in lines[:3]] == [True, False, True]
    assert lines[4] == "3 files: 1 right for the cloud, 2 not"
    assert any(one.startswith("bad              chunks: in 2 files, first bad1.h5: ") for one in lines)
    # one that cannot be judged is named, and the others are judged all the same
    assert cli.main(["inspect", "--cloud", "--json", "none.h5", "good.h5"]) == 2
    shown = capsys.readouterr()
    assert [one["path"] for one in json.loads(shown.out)] == ["good.h5"]
    assert "streamh5: none.h5: No such file" in shown.err
    assert cli.main(["inspect", "--cloud", "text.h5", "good.h5"]) == 1
    assert cli.main(["inspect", "good.h5", "bad1.h5"]) == 2
    assert "--cloud" in capsys.readouterr().err


def test_inspect_html_of_a_url_is_a_page_of_its_metadata(capsys: pytest.CaptureFixture[str]) -> None:
    url = "memory://html/a.h5"
    streamh5.to_fixed_h5(url, "/x", np.ones((4, 4)), chunks=(2, 2))
    assert cli.main(["inspect", url, "--html"]) == 0
    assert url in capsys.readouterr().out


@pytest.mark.parametrize(("given", "page_nbytes"), [("auto", 4096), ("64KiB", 65536), ("none", 0)])
def test_convert_writes_the_pages_that_are_asked_for(tmp_path: Path, given: str, page_nbytes: int) -> None:
    source, out = tmp_path / "in.h5", tmp_path / "out.h5"
    with h5py.File(source, "w") as file:
        file["x"] = np.arange(100)
    assert cli.main(["convert", "--page", given, str(source), str(out)]) == 0
    with h5py.File(out) as file:
        strategy = file.id.get_create_plist().get_file_space_strategy()[0]
        assert (strategy == h5py.h5f.FSPACE_STRATEGY_PAGE) == bool(page_nbytes)
        if page_nbytes:
            assert file.id.get_create_plist().get_file_space_page_size() == page_nbytes
        assert file["x"][()].tolist() == list(range(100))


def test_convert_refuses_a_size_that_no_page_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in.h5", tmp_path / "out.h5"
    with h5py.File(source, "w") as file:
        file["x"] = np.arange(100)
    assert (
        cli.main(["convert", "--page", str(source), str(source), str(out)]) == 2
    )  # IN, where a size belongs
    assert "page" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("command", ["verify", "inspect", "references", "convert"])
@pytest.mark.parametrize("name", ["out.h5.partial", "out.h5"])
def test_file_of_an_interrupted_write_is_said_to_be_one(
    command: str,
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    file = streamh5.File("out.h5")
    file.create_dataset("x", (4,), "i4", chunks=(2,))[:2] = 1
    file.suspend()
    assert cli.main([command, name, *(["copy.h5"] if command == "convert" else [])]) in (1, 2)
    told = capsys.readouterr().err
    assert ("is not an HDF5 file yet" if name.endswith("partial") else "such file") in told
    assert "its write goes on, or was interrupted: then resume it" in told
    assert "streamh5 salvage out.h5.partial" in told
    assert cli.main(["salvage", "out.h5.partial"]) == 0
    assert cli.main([command, name, *(["copy.h5"] if command == "convert" else [])]) == 2
    assert "salvage" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "is_flushed"), [("out.h5.partial", False), ("out.h5", False), ("out.h5", True)]
)
def test_salvage_of_a_write_that_goes_on_and_a_second_salvage_say_what_to_do(
    name: str,
    is_flushed: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    file = streamh5.File("out.h5")
    if is_flushed:
        file.flush()
    file.create_dataset("x", (4,), "i4", chunks=(2,))[:2] = 1
    assert cli.main(["salvage", name]) == 2
    told = capsys.readouterr().err
    assert f"the write of {tmp_path / 'out.h5'} goes on" in told
    assert "close it, or end its process" in told
    assert "another name" not in told
    file.suspend()
    assert cli.main(["salvage", name]) == 0
    assert cli.main(["salvage", name]) == 2
    told = capsys.readouterr().err
    if is_flushed:
        assert "have a journal, out.h5.partial.journal, until they are complete, resumed or salvaged" in told
    else:
        assert f"{tmp_path / 'out.salvaged.h5'} may be what a salvage has made of it" in told
