"""The site: ``python -m sphinx -W docs docs/_build/html``, with the packages of the extra ``docs``.

The pages are Markdown that reads well on a forge, too. Links there lead out of ``docs/`` (to ``../notebooks/``,
``../CHANGELOG.md``, ``../README.md``); in the site, these are pages as well, at the places that `OUTSIDE` gives.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
NOTEBOOKS = DOCS.parent / "notebooks"
sys.path.insert(0, str(DOCS.parent))  # this checkout, whatever is installed
sys.path.insert(0, str(DOCS))

import streamh5  # noqa: E402
from streamh5.cli.main import main  # noqa: E402

project = "streamh5"
author = "The streamh5 developers"
copyright = author
version = release = streamh5.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
    "api_types",
]
exclude_patterns = ["_build"]
suppress_warnings = ["mystnb.unknown_mime_type"]  # a notebook's fallback, the text, is shown

# Markdown and notebooks. Notebooks show what was committed: the tests execute them.
myst_enable_extensions = ["colon_fence", "attrs_inline"]
myst_heading_anchors = 4
nb_execution_mode = "off"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# The API; `api_types` sets more. No intersphinx: the build needs no network.
numpydoc_show_class_members = False  # the pages name them
python_maximum_signature_line_length = 90

html_theme = "pydata_sphinx_theme"
html_title = "streamh5"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(DOCS / "search_scorer.js")
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "logo": {"text": "streamh5"},
    "header_links_before_dropdown": 6,
    "search_as_you_type": True,
    "navbar_persistent": ["search-button"],
    "navbar_end": ["theme-switcher"],
    "show_nav_level": 2,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "footer_start": [],
    "footer_end": ["theme-version"],
}
html_sidebars = {"index": [], "changelog": ["sidebar-nav-bs"]}

OUTSIDE = {"../notebooks/": "notebooks/", "../CHANGELOG.md": "changelog.md", "../README.md": "index.md"}
"""Targets of links outside of docs/, as a page at its top names them: their places in the site."""


def links_inside(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn links that lead out of ``docs/`` into links to the pages that the site has for them."""
    text = source[0]
    for outside, inside in OUTSIDE.items():
        text = re.sub(rf"\]\(((?:\.\./)*){re.escape(outside)}", rf"](\1{inside}", text)
    if docname.startswith("notebooks/"):
        text = text.replace("](../docs/", "](../")
    source[0] = text


def copy_notebooks(app: Sphinx) -> None:
    """Bring the notebooks below ``docs/``, where Sphinx finds them."""
    folder = DOCS / "notebooks"
    folder.mkdir(exist_ok=True)
    originals = {path.name: path for path in NOTEBOOKS.glob("*.ipynb")}
    for path in folder.glob("*.ipynb"):
        if path.name not in originals:
            path.unlink()
    for name, path in originals.items():
        copy = folder / name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():  # a copy that is newer is built again
            shutil.copyfile(path, copy)


class CommandHelp(SphinxDirective):
    """Show what ``streamh5 COMMAND --help`` prints now."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return it as a block of text."""
        os.environ.update(COLUMNS="88", NO_COLOR="1")
        text = io.StringIO()
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            main([self.arguments[0], "--help"])
        if not text.getvalue():
            raise self.error(f"streamh5 has no command {self.arguments[0]}")
        return [nodes.literal_block(text.getvalue(), text.getvalue(), language="text")]


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.add_directive("command-help", CommandHelp)
    app.connect("builder-inited", copy_notebooks, priority=100)
    app.connect("source-read", links_inside)
