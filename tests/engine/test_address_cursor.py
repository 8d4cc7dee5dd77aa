"""Where the next bytes go, and where the file ends at the latest."""

from __future__ import annotations

import pytest

from streamh5.engine.address_cursor import MAX_FILE_NBYTES, AddressCursor
from streamh5.errors import LimitError


def test_reserve_up_to_the_largest_file_is_given_and_beyond_it_refused() -> None:
    cursor = AddressCursor(MAX_FILE_NBYTES - 10)
    assert cursor.reserve(4) == MAX_FILE_NBYTES - 10
    with pytest.raises(LimitError, match=r"7 more bytes"):
        cursor.reserve(7)
    assert cursor.reserve(6) == MAX_FILE_NBYTES - 6
    assert cursor.address == MAX_FILE_NBYTES
