"""Mappings of a virtual dataset (specification VII.B)."""

from __future__ import annotations

from streamh5.format.fields import Fields, check_checksum

_STRUCTURE = "virtual dataset global heap block"


def check_virtual_mappings(block: bytes) -> None:
    """Check the global heap object that contains the mappings of a virtual dataset.

    Raises
    ------
    FormatError
        The version or the checksum is wrong.
    """
    Fields(block, _STRUCTURE).version(0, 1)
    check_checksum(block, _STRUCTURE)
