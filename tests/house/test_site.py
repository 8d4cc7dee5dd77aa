"""The sources of the site: every page is in the navigation, every link leads somewhere, every command has its section.

``.ci/run`` builds it with Sphinx, where warnings are errors, and looks at the links of the result.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from streamh5.cli.main import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MADE = {DOCS / "_build", DOCS / "notebooks", DOCS / "api" / "generated"}
"""Folders that a build of the site makes."""
PAGES = sorted(path for path in DOCS.rglob("*.md") if not MADE & set(path.parents))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LINKING = [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES, *NOTEBOOKS]


def text_of(page: Path) -> str:
    """Return the Markdown of a page or a notebook, without its code."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^ *(```+|~~~+).*?^ *\1$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the fragments that forges and MyST give to the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles]
    return {f"{slug}-{n}" if n else slug for i, slug in enumerate(slugs) for n in [slugs[:i].count(slug)]}


def children(page: Path) -> set[Path]:
    """Return the pages that the toctrees of a page name."""
    found: set[Path] = set()
    for block in re.findall(
        r"^```\{toctree\}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.DOTALL
    ):
        for line in block.splitlines():
            if not line or line.startswith(":"):
                continue
            name = re.sub(r"^.*<(.+)>$", r"\1", line)
            named = set(page.parent.glob(f"{name}.md"))
            assert named or name == "notebooks/*", f"{page.name}: {line}"
            found |= named
    return found - {page}


def test_every_page_is_in_the_navigation() -> None:
    reached, new = set[Path](), {DOCS / "index.md"}
    while new:
        reached |= new
        new = {child for page in new for child in children(page)} - reached
    assert set(PAGES) - reached == set()


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_links_of_a_page_lead_to_files_and_headings(page: Path) -> None:
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"https?:|mailto:", link):
            continue
        name, _, fragment = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (fragment and fragment not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_pages_link_only_to_what_the_site_has() -> None:
    """A link to a module or a test works on a forge only: pages name such files as code."""
    has = {*PAGES, *NOTEBOOKS, ROOT / "README.md", ROOT / "CHANGELOG.md"}
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text_of(page)):
            if not re.match(r"https?:|mailto:", link):
                target = (page.parent / link).resolve()
                assert target in has or target.is_relative_to(DOCS / "images") or target.parent == DOCS, link


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    return capsys.readouterr().out


def test_page_of_the_command_line_has_every_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    (\w[\w-]*)(?:  |$)", help_of(capsys).partition("commands:")[2], re.MULTILINE)
    assert len(commands) >= 8
    assert sorted(re.findall(r"^## streamh5 (\S+)$", page, re.MULTILINE)) == sorted(commands)
    assert sorted(re.findall(r"^```\{command-help\} (\S+)$", page, re.MULTILINE)) == sorted(commands)
    assert set(re.findall(r"^\|.*\[`streamh5 (\S+?)(?: --\w+)?`\]", page, re.MULTILINE)) == set(commands)


def test_options_that_the_pages_show_exist(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown: dict[str, set[str]] = {}
    for page in [ROOT / "README.md", *PAGES]:
        lines = re.findall(r"^\$ streamh5 ([\w-]+)(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        for command, rest in lines:
            shown.setdefault(command, set()).update(re.findall(r"(?<=\s)--[\w-]+", rest.split(" #")[0]))
    assert shown
    for command, options in shown.items():
        text = help_of(capsys, command)
        assert {option for option in options if option not in text} == set(), command
