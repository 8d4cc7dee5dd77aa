"""How long a test waits for what must happen."""

from __future__ import annotations

__all__ = ["DEADLOCK_SECONDS"]

DEADLOCK_SECONDS = 600
"""Nothing takes so long on the slowest, busiest machine: what has not ended by then hangs."""
