"""Mappings of a virtual dataset (specification VII.B)."""

from __future__ import annotations

from streamh5.format.fields import Fields


def check_virtual_mappings(block: bytes) -> None:
    """Check the global heap object that contains the mappings of a virtual dataset.

    Raises
    ------
    FormatError
        The version or the checksum is wrong.
    """
    fields = Fields(block, "virtual dataset global heap block")
    fields.version(0, 1)
    fields.check_checksum()
