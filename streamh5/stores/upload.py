"""``Upload``: one object that is being written, in one request or in parts, whatever single requests do."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from streamh5.errors import DestinationExistsError, SinkError, StateError, StoreError
from streamh5.stores import attempts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streamh5.stores.base import ObjectStore, PartReceipt, StoredObject

T = TypeVar("T")


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
    note
        Called before the upload begins, with the uploads that are there, if that can be told, then with its id before
        the first part.

    Attributes
    ----------
    upload
        Id of the upload; None before the first part.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        token: str,
        if_absent: bool,
        upload: str | None = None,
        note: Callable[[str | None, Sequence[str] | None], None] = lambda upload, others: None,
    ) -> None:
        self.store = store
        self.token = token
        self.upload = upload
        self._if_absent = if_absent
        self._note = note
        self._lock = threading.Lock()
        # Held until the write has ended. Not an Event: a signal handler that ends the write while its thread is in a
        # method of the same Event could wait for ever.
        self._is_going_on = threading.Lock()
        self._is_going_on.acquire()
        self._lost: set[str] = set()  # uploads that began when the answer to `begin` was lost

    def stop_waiting(self) -> None:
        """Let no request be repeated any more, except those of `abort`: the write has ended."""
        with suppress(RuntimeError):  # it has been released already
            self._is_going_on.release()

    def _wait(self, seconds: float) -> None:
        if self._is_going_on.acquire(timeout=seconds):
            self.stop_waiting()
            raise StateError(f"the write to {self.store.url} has ended")

    def begin(self) -> str:
        """Begin the upload; only the first call does."""
        with self._lock:
            if self.upload is None:
                self.upload = self._run("an upload cannot begin", self._begin)
                self._note(self.upload, ())
            return self.upload

    def begin_apart(self) -> None:
        """Begin the upload in another thread: a Ctrl-C in this one waits for its id, without which it would be left."""
        with ThreadPoolExecutor(1, thread_name_prefix="streamh5-upload") as threads:
            threads.submit(self.begin).result()

    def _begin(self) -> str:
        before = self._uploads()
        self._note(None, None if before is None else sorted(before))
        try:
            return self.store.begin_upload(self.token)
        except StoreError as error:
            if error.reason == "transient" and before is not None:
                with suppress(StoreError):
                    self._lost |= (attempts.ATTEMPTS.run(self._uploads, wait=self._wait) or before) - before
            raise

    def _uploads(self) -> set[str] | None:
        """Return the uploads of this object; None if the user may write, but not list."""
        try:
            return {one.upload for one in self.store.list_uploads()}
        except StoreError as error:
            if error.reason == "transient":
                raise
            return None

    def _remove_lost(self) -> None:
        """Remove uploads that have begun without an answer, unless they are in use.

        Another writer may have begun one at the same moment. At the end of a write it has parts, or is completed;
        those of ours never had any.
        """
        for upload in self._lost - {self.upload}:
            with suppress(StoreError):
                if not attempts.ATTEMPTS.run(partial(self.store.list_parts, upload)):
                    attempts.ATTEMPTS.run(partial(self.store.abort_upload, upload))
        self._lost.clear()

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
        self._remove_lost()

    def abort(self) -> None:
        """Remove the upload and its parts; nothing happens if none has begun.

        Raises
        ------
        SinkError
            It may be left, and costs money: the message names it.
        """
        if self.upload is not None:
            self._abort(self.upload)
        self._remove_lost()

    def _abort(self, upload: str) -> None:
        try:
            remove_upload(self.store, upload)
        except StoreError as error:
            left = f"upload {upload} of {self.store.url} may be left, and costs money"
            advice = (
                f": {error}"
                if error.reason == "refused"
                else "; 'streamh5 abort-upload' and that URL remove it"
            )
            raise SinkError(left + advice, path=self.store.url, upload=upload) from error

    def _is_done(self) -> bool | None:
        """Tell whether the object is the one of this write: an answer may have been lost."""
        found = self.store.head()
        return True if found is not None and found.token == self.token else None

    def _run(
        self,
        what: str,
        request: Callable[[], T],
        after_failure: Callable[[], T | None] = lambda: None,
    ) -> T:
        try:
            try:
                return attempts.ATTEMPTS.run(request, after_failure=after_failure, wait=self._wait)
            except StoreError as error:
                # a repeated request is refused if the first one had its effect: ask until that is known
                asked = attempts.Attempts(1) if error.reason == "transient" else attempts.ATTEMPTS
                with suppress(StoreError):
                    found = asked.run(after_failure)
                    if found is not None:
                        return found
                raise
        except StoreError as error:
            if error.reason == "exists":
                raise object_exists_error(self.store.url) from error
            raise SinkError(f"cannot write {self.store.url}: {what}: {error}", path=self.store.url) from error


def remove_upload(store: ObjectStore, upload: str) -> None:
    """Remove an upload, however often that has to be asked for.

    Raises
    ------
    StoreError
        It may be left.
    """

    def remove() -> None:
        store.abort_upload(upload)
        try:
            left = store.list_parts(upload)
        except StoreError as error:
            if error.reason == "transient":
                raise
            return  # there is no such upload, or the user may not ask
        if left:  # they were on their way, and keep it alive
            raise StoreError(f"parts of upload {upload} came after it was aborted", reason="transient")

    attempts.ATTEMPTS.run(remove)


def object_exists_error(url: str) -> DestinationExistsError:
    """Return the error for an object that must not be replaced."""
    return DestinationExistsError(
        f"{url} exists; pass overwrite=True (File: mode 'w') to replace it, or choose another name", path=url
    )


def head_object(store: ObjectStore) -> StoredObject | None:
    """Return the object; None if there is none.

    Raises
    ------
    SinkError
        The store does not answer, or refuses the request.
    """
    try:
        return attempts.ATTEMPTS.run(store.head)
    except StoreError as error:
        raise SinkError(f"cannot write {store.url}: {error}", path=store.url) from error
