"""Take the pictures of docs/images out of the executed notebooks.

python docs/notebook_images.py
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

__all__ = ["IMAGES", "picture"]

ROOT = Path(__file__).parents[1]
FIRST = "01-write-larger-than-memory.ipynb"

IMAGES = {"memory.png": (FIRST, 1), "chunk-sizes.png": (FIRST, 2), "file-map.png": (FIRST, 3)}
"""Name in docs/images: notebook, and number of the picture in it."""


def picture(name: str) -> bytes:
    """Return the picture for docs/images/`name` from its notebook."""
    notebook, number = IMAGES[name]
    cells = json.loads((ROOT / "notebooks" / notebook).read_text())["cells"]
    pictures = [
        output["data"]["image/png"]
        for cell in cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    return base64.b64decode(pictures[number])


if __name__ == "__main__":
    for name in IMAGES:
        (ROOT / "docs" / "images" / name).write_bytes(picture(name))
