"""Checksums that a store has of an object, and how they are computed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class StoredChecksum(NamedTuple):
    """A checksum that a store has of an object.

    Attributes
    ----------
    algorithm
        A name of `ALGORITHMS`.
    digest
        Its digest.
    edges
        Of an object that was sent in parts, the positions 0, between the parts, and the end: the digest is that of the
        digests of the parts, one after the other. Empty if it is that of the bytes themselves.
    """

    algorithm: str
    digest: bytes
    edges: tuple[int, ...] = ()

    def __str__(self) -> str:
        n_parts = len(self.edges) - 1
        return self.algorithm if n_parts < 0 else f"{self.algorithm} of {n_parts:,} part{'s'[: n_parts != 1]}"


class ChecksummedObject(Protocol):
    """An object in a store that tells checksums."""

    def checksum(self, version: str) -> StoredChecksum | None:
        """Return a checksum of a version of the object; None if the store tells none of `ALGORITHMS`.

        It may be many requests, which are repeated as `streamh5.stores.attempts` says.

        Raises
        ------
        StoreError
            See `ReadableObject.read`.
        """


class Digest(Protocol):
    """A digest of the bytes that are given to it, one piece after the other."""

    def update(self, piece: bytes, /) -> None:
        """Add a piece."""

    def digest(self) -> bytes:
        """Return the digest of all pieces."""


class _Crc32c:
    def __init__(self) -> None:
        import google_crc32c  # gcsfs brings it, as the store that tells such checksums

        self._extend = google_crc32c.extend
        self._value = 0

    def update(self, piece: bytes) -> None:
        self._value = self._extend(self._value, piece)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _md5() -> Digest:
    return hashlib.md5(usedforsecurity=False)


ALGORITHMS: dict[str, Callable[[], Digest]] = {
    "MD5": _md5,
    "CRC-32C": _Crc32c,
}
"""Digests that can be computed here, by name."""
