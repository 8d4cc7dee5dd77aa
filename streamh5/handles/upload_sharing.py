"""``UploadSharing``: the time during which other processes send parts of the object that a session writes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from streamh5.errors import StateError
from streamh5.write.shared_upload import SharedUpload
from streamh5.write.summary import SharedFigures

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from streamh5.handles.session import Session
    from streamh5.sinks.object_sink import ObjectSink
    from streamh5.stores.base import PartReceipt

MIN_PART_NBYTES = 5 << 20
"""Smaller parts are joined with others, also where the store would take them: each is a request."""


class PlacedParts(NamedTuple):
    """Where the bytes lie that other processes have filtered.

    Attributes
    ----------
    rest_address
        Address of the bytes that this process writes.
    starts
        ``(n,) int64``: address of each part.
    """

    rest_address: int
    starts: NDArray[np.int64]


class UploadSharing:
    """Lets other processes send parts of the object of a session.

    Parameters
    ----------
    session
        The session.

    Attributes
    ----------
    shared
        What the processes need.
    first_number, n_numbers
        Numbers of their parts.
    missing_nbytes
        Bytes of chunks that must come before their parts.
    max_rest_nbytes
        Bytes of chunks that may come before them.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sink = cast("ObjectSink", session.sink)
        self._end: int = session.place.reserve(0)  # lays out the front region
        opened = self._sink.share(self._end)
        self._upload = opened.upload
        store = opened.upload.store
        self.shared = SharedUpload(
            store, opened.upload.begin(), opened.upload.token, max(store.limits.min_nbytes, MIN_PART_NBYTES)
        )
        self.first_number, self.n_numbers = opened.first_number, opened.n_numbers
        self.missing_nbytes = opened.missing_nbytes
        front = max(
            0, store.limits.min_nbytes - opened.missing_nbytes
        )  # the part has more only if nothing is missing
        self.max_rest_nbytes = store.limits.max_nbytes - front

    def take_turn(self) -> None:
        """Let other processes send parts again, after `end_upload`."""
        self.shared = replace(self.shared, turn=self.shared.turn + 1)

    def check(self) -> None:
        """Notice that a handler or another thread has ended the write, whose upload is removed then.

        Raises
        ------
        StateError
            It has.
        """
        if not self._session.is_open:
            raise StateError(f"the write to {self._sink.name} was ended while its parts were sent")

    def differing(self, receipts: Sequence[PartReceipt]) -> set[int]:
        """Return the numbers of the parts of which the store has other ones, or none.

        Raises
        ------
        SinkError
            The store does not answer, or the upload was removed.
        """
        stored = set(self._upload.list_parts()) if receipts else set()
        return {one.number for one in receipts if one not in stored}

    def end(
        self, receipts: Sequence[PartReceipt], rest_nbytes: int, *, writers: Iterable[str], lost_nbytes: int
    ) -> PlacedParts:
        """Place the parts, and `rest_nbytes` before them, which this process has to write.

        Parameters
        ----------
        receipts
            The parts, by ascending number.
        rest_nbytes
            Bytes of chunks that are too few for a part.
        writers
            The processes.
        lost_nbytes
            Bytes of parts that were replaced.

        Returns
        -------
        PlacedParts

        Raises
        ------
        StateError
            Something else was written since the beginning.
        """
        sizes = np.array([one.nbytes for one in receipts], np.int64)
        address = self._session.place.reserve(rest_nbytes + int(sizes.sum()))
        if address != self._end:
            raise StateError(f"{self._sink.name} was written to while its parts were sent by other processes")
        self._sink.take_parts(address + rest_nbytes, receipts)
        self._session.sharing.sent = SharedFigures(
            n_writers=len({one.rpartition(":")[0] for one in writers}),
            n_leases=0,
            rewritten_nbytes=lost_nbytes,
            unused_nbytes=0,
            n_parts=len(receipts),
        )
        return PlacedParts(address, address + rest_nbytes + np.cumsum(sizes) - sizes)
