"""Sphinx with MyST: ``python -m sphinx -W docs OUT`` (packages sphinx and myst-parser)."""

from __future__ import annotations

project = "streamh5"
author = "The streamh5 developers"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
html_theme = "alabaster"
myst_heading_anchors = 3
