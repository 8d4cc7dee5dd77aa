from __future__ import annotations

import pytest

from streamh5.errors import LimitError
from streamh5.format.primitives import encoded_length, uint


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 1),
        (1, 1),
        (255, 1),
        (256, 2),
        (65_535, 2),
        (65_536, 3),
        (2**24 - 1, 3),
        (2**24, 4),
        (2**64 - 1, 8),
    ],
)
def test_encoded_length_around_powers_of_256_minimal(value: int, expected: int) -> None:
    assert encoded_length(value) == expected


def test_uint_at_limit_packs_little_endian() -> None:
    assert uint(0x0102, 2, "field") == b"\x02\x01"
    assert uint(65_535, 2, "field") == b"\xff\xff"


@pytest.mark.parametrize("value", [65_536, -1])
def test_uint_outside_field_limit_error_names_field(value: int) -> None:
    with pytest.raises(LimitError, match="chunk size") as caught:
        uint(value, 2, "chunk size")
    assert caught.value.facts["value"] == value
