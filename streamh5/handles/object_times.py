"""Times in object headers (``track_times``): none by default, so that the same content has the same bytes."""

from __future__ import annotations

import time

from streamh5.format.object_header import encode_times


def times_now(track_times: bool | None) -> bytes:
    """Return the times of a new object, as its header stores them; empty unless they are tracked."""
    return encode_times(int(time.time())) if track_times else b""
