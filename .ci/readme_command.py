"""Print a command of the README, as it stands there: the bash block below its marker comment.

Called with the marker's name: ``python3 .ci/readme_command.py "main job"`` prints the block that
follows ``<!-- command: main job -->``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def readme_command(name: str) -> str:
    """Return the command; exit with a message unless there is exactly one."""
    pattern = rf"<!-- command: {re.escape(name)} -->\s*```bash\n(.*?)```"
    found: list[str] = re.findall(pattern, README.read_text(encoding="utf-8"), re.DOTALL)
    if len(found) != 1:
        sys.exit(f"README.md has {len(found)} bash blocks after `<!-- command: {name} -->`, not 1")
    return found[0].strip()


if __name__ == "__main__":
    print(readme_command(" ".join(sys.argv[1:])))
