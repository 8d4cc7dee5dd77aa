"""``Upload``: one object that is being written, in one request or in parts, whatever single requests do."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from streamh5.errors import DestinationExistsError, SinkError, StateError, StoreError
from streamh5.stores import attempts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamh5.stores.base import ObjectStore, PartReceipt

T = TypeVar("T")

N_ABORTS = 5
"""How often an upload is aborted that is still there: a part that was on its way meanwhile keeps it alive."""


class Upload:
    """Writes one object: `put`, or `send` for each part and `complete`; `abort` drops it. Thread-safe.

    Parameters
    ----------
    store
        The object.
    token
        Identity of the write, which the object will carry.
    if_absent
        Do not replace an object that is there.
    upload
        Id of an upload that has begun already: of an interrupted write, or of another process.

    Attributes
    ----------
    upload
        Id of the upload; None before the first part.
    """

    def __init__(self, store: ObjectStore, *, token: str, if_absent: bool, upload: str | None = None) -> None:
        self.store = store
        self.token = token
        self.upload = upload
        self._if_absent = if_absent
        self._lock = threading.Lock()
        self._has_ended = threading.Event()

    def stop_waiting(self) -> None:
        """Let no request be repeated any more, except those of `abort`: the write has ended."""
        self._has_ended.set()

    def _wait(self, seconds: float) -> None:
        if self._has_ended.wait(seconds):
            raise StateError(f"the write to {self.store.url} has ended")

    def begin(self) -> str:
        """Begin the upload; only the first call does."""
        with self._lock:
            if self.upload is None:
                self.upload = self._run("an upload cannot begin", self._begin)
            return self.upload

    def _begin(self) -> str:
        before = {one.upload for one in self.store.list_uploads()}

        def remove_lost() -> None:
            # the answer was lost, and with it the id of an upload that would cost money for ever
            for one in self.store.list_uploads():
                if one.upload not in before:
                    self.store.abort_upload(one.upload)

        try:
            return self.store.begin_upload(self.token)
        except StoreError as error:
            if error.reason == "transient":
                with suppress(StoreError):
                    attempts.ATTEMPTS.run(remove_lost)
            raise

    def send(self, number: int, content: memoryview) -> PartReceipt:
        """Send a part of an upload that has begun; sent again, it replaces the former.

        Raises
        ------
        SinkError
            The store did not take it, however often it was tried.
        """
        upload = self.begin()
        return self._run(
            f"part {number} of {len(content):,} bytes could not be sent",
            lambda: self.store.send_part(upload, number, content),
        )

    def list_parts(self) -> list[PartReceipt]:
        """Return the parts that the store has.

        Raises
        ------
        SinkError
            There is no such upload any more, or the store does not answer.
        """
        return self._run("its upload cannot be listed", lambda: self.store.list_parts(self.begin()))

    def put(self, content: memoryview) -> None:
        """Make the object in one request.

        Raises
        ------
        SinkError, DestinationExistsError
            See `complete`.
        """

        def put() -> bool:
            self.store.put(content, token=self.token, if_absent=self._if_absent)
            return True

        self._run(f"{len(content):,} bytes could not be sent", put, self._is_done)

    def complete(self, parts: Iterable[PartReceipt]) -> None:
        """Make the object of these parts, and no others.

        Raises
        ------
        SinkError
            The store has other parts under these numbers: the object would not be what was written.
        DestinationExistsError
            There is an object, and it must not be replaced.
        """
        upload = self.upload
        if upload is None:
            raise StateError(f"{self.store.url}: no part has been sent")
        ordered = sorted(parts)

        def complete() -> bool:
            self.store.complete(upload, ordered, token=self.token, if_absent=self._if_absent)
            return True

        self._run(f"its {len(ordered):,} parts could not be joined", complete, self._is_done)

    def abort(self) -> None:
        """Remove the upload and its parts; nothing happens if none has begun.

        Raises
        ------
        SinkError
            It may be there still, and costs money: the message names it.
        """
        upload = self.upload
        if upload is None:
            return

        def remove() -> None:
            for _ in range(N_ABORTS):
                self.store.abort_upload(upload)
                try:
                    if not self.store.list_parts(upload):
                        return
                except StoreError as error:
                    if error.reason == "no upload":
                        return
                    raise

        self._run(
            f"its upload {upload} may be there still, and cost money; remove it: "
            f"streamh5 abort-upload {self.store.url}",
            remove,
            wait=time.sleep,  # `stop_waiting` is not meant
        )

    def _is_done(self) -> bool | None:
        """Tell whether the object is the one of this write: an answer may have been lost."""
        with suppress(StoreError):
            found = self.store.head()
            if found is not None and found.token == self.token:
                return True
        return None

    def _run(
        self,
        what: str,
        request: Callable[[], T],
        after_failure: Callable[[], T | None] = lambda: None,
        wait: Callable[[float], object] | None = None,
    ) -> T:
        try:
            try:
                return attempts.ATTEMPTS.run(request, after_failure=after_failure, wait=wait or self._wait)
            except StoreError:
                # a repeated request is refused if the first one had its effect
                found = after_failure()
                if found is None:
                    raise
                return found
        except StoreError as error:
            if error.reason == "exists":
                raise object_exists_error(self.store.url) from error
            raise SinkError(f"cannot write {self.store.url}: {what}: {error}", path=self.store.url) from error


def object_exists_error(url: str) -> DestinationExistsError:
    """Return the error for an object that must not be replaced."""
    return DestinationExistsError(
        f"{url} exists; pass overwrite=True (File: mode 'w') to replace it, or choose another name", path=url
    )
