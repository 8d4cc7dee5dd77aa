"""docs/readers.md says what programs of other languages read; the campaign asks them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.readers.other_languages import COMMANDS, FILES, is_right, read

PAGE = Path(__file__).parents[2] / "docs" / "readers.md"


def table() -> dict[tuple[str, str], bool]:
    """Return what the page says: reader and kind of file, and whether it is read."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| reader | default |"))
    kinds = [cell.strip() for cell in lines[start].split("|")[2:-1]]
    found = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        reader, *cells = (cell.strip() for cell in line.split("|")[1:-1])
        found.update({(reader, kind): cell == "✓" for kind, cell in zip(kinds, cells, strict=True)})
    return found


def test_table_of_the_page_has_a_cell_for_every_reader_and_kind() -> None:
    assert set(table()) == {(reader, kind) for reader in COMMANDS for kind in FILES}


@pytest.mark.campaign
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("reader", COMMANDS)
def test_reader_reads_what_the_page_says(reader: str, kind: str, tmp_path: Path) -> None:
    if shutil.which(COMMANDS[reader][0]) is None:
        pytest.skip(f"{COMMANDS[reader][0]} is missing")
    suffix, write = FILES[kind]
    path = tmp_path / f"x.{suffix}"
    write(path)
    said = read(reader, path)
    assert is_right(kind, said) == table()[reader, kind], said
