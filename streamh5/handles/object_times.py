"""Times in object headers (``track_times``): none by default, so that the same content has the same bytes."""

from __future__ import annotations

import time

from streamh5.format.object_header import NO_FIELDS, OptionalFields, encode_times


def times_now(track_times: bool | None) -> OptionalFields:
    """Return the optional fields of the header of a new object: the time, if times are tracked."""
    return OptionalFields(encode_times(int(time.time()))) if track_times else NO_FIELDS
