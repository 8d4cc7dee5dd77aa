"""``python -m streamh5``."""

from __future__ import annotations

import sys

from streamh5.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
