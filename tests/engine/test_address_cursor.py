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


def test_ranges_that_an_earlier_sharing_has_left_are_still_used_after_the_next() -> None:
    cursor = AddressCursor(100)
    for end, free in ((1000, (200, 300)), (2000, (1200, 1300))):
        cursor.share(lambda base: lambda nbytes: (base, base + nbytes))
        cursor.unshare(end, [free])
    assert cursor.free_nbytes == 200
    assert [cursor.reserve(100) for _ in range(3)] == [200, 1200, 2000]
