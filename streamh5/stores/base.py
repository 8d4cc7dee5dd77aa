"""The protocol between streamh5 and an object store, for one object.

An object appears at once and complete: by one request (`put`), or in *parts*, which may be sent in any order and from
any machine, and which `complete` joins in the order of their numbers. Until then an earlier object of that name stays.

================ ==========================================================================
`head`           the object's size, version and token; None if there is none
`read_start`     the same, with its first bytes
`read`           bytes of a version of it
`put`            the whole object in one request
`begin_upload`   an upload in parts; returns its id
`send_part`      one part; sent again, it replaces the former
`list_parts`     what the store has of an upload
`complete`       the object, of exactly these parts
`abort_upload`   removes an upload and its parts
`list_uploads`   uploads of this object that were neither completed nor aborted
================ ==========================================================================

A method is one request (`list_parts` and `list_uploads` one for each page), and repeats nothing:
`streamh5.stores.attempts` does that. What goes wrong is a `StoreError` with a `Reason`.

=============== ============ ============================== ==========================
store           module       an upload is                   a part is
=============== ============ ============================== ==========================
S3              `s3`         a multipart upload             a part
Google          `gcs`        a multipart upload (XML API)   a part
Azure           `azure`      blocks that begin alike        a block
fsspec's memory `memory`     a dictionary                   an item of it
=============== ============ ============================== ==========================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKEN_KEY = "streamh5-write"
"""Key of the object's metadata with the token of the write that made it: with it, a request whose answer was lost is
recognised as done."""


class PartLimits(NamedTuple):
    """What a store allows.

    Attributes
    ----------
    min_nbytes
        Smallest part; the last one may be smaller.
    max_nbytes
        Largest part.
    max_number
        Number of the last part; the first is 1.
    """

    min_nbytes: int = 5 << 20
    max_nbytes: int = 5 << 30
    max_number: int = 10_000


class PartReceipt(NamedTuple):
    """What a store has of a part.

    Attributes
    ----------
    number
        Its number, from 1 on.
    etag
        Its entity tag; on Azure the id of the block.
    nbytes
        Its size in bytes.
    """

    number: int
    etag: str
    nbytes: int


class StoredObject(NamedTuple):
    """An object in a store.

    Attributes
    ----------
    nbytes
        Its size in bytes.
    version
        What tells this version of it from others.
    token
        Of the write that made it; None if another program did.
    """

    nbytes: int
    version: str
    token: str | None = None


class PendingUpload(NamedTuple):
    """An upload that was neither completed nor aborted.

    Attributes
    ----------
    upload
        Its id.
    began
        When it began, as ISO 8601; empty if unknown.
    """

    upload: str
    began: str


class ReadableObject(Protocol):
    """The requests that read one object. Thread-safe; can be pickled, and used from several processes.

    Attributes
    ----------
    url
        The object, for messages: without credentials.

    Examples
    --------
    >>> from streamh5.stores.open_store import open_store
    >>> summary = streamh5.to_fixed_h5("memory://bucket/y.h5", "/y", np.zeros(10))
    >>> store = open_store("memory://bucket/y.h5")
    >>> found, start = store.read_start(4)
    >>> found.nbytes == summary.file_nbytes, store.read(1, 4, found.version)
    (True, b'HDF')
    """

    url: str

    def read_start(self, nbytes: int) -> tuple[StoredObject, bytes]:
        """Return what the object is, and its first `nbytes` bytes, fewer if it has fewer: in one request.

        A reader needs no `head` before it, and all later reads ask for the version that this one has found.

        Parameters
        ----------
        nbytes
            Number of bytes.

        Raises
        ------
        StoreError
            ``"missing"``: there is no object.
        """

    def read(self, start: int, stop: int, version: str | None = None) -> bytes:
        """Return the bytes from `start` to `stop`, fewer at the end of the object.

        Parameters
        ----------
        start, stop
            Range of positions in the object.
        version
            The version that is wanted (`StoredObject.version`); None for any.

        Raises
        ------
        StoreError
            ``"missing"``: there is no object. ``"changed"``: it is not `version` any more.
        """


class ObjectStore(ReadableObject, Protocol):
    """The requests for one object: what a new kind of object store has to have.

    The row of its protocol in `streamh5/stores/open_store.py` makes it known.

    Attributes
    ----------
    limits
        What the store allows.

    Examples
    --------
    >>> from streamh5.stores.open_store import open_store
    >>> store = open_store("memory://bucket/x.h5")
    >>> store.head() is None
    True
    >>> upload = store.begin_upload("token")
    >>> receipt = store.send_part(upload, 1, memoryview(b"content"))
    >>> store.list_parts(upload) == [receipt], len(store.list_uploads())
    (True, 1)
    >>> store.complete(upload, [receipt], token="token", if_absent=True)
    >>> store.put(memoryview(b"other"), token="token", if_absent=False)
    >>> store.abort_upload(store.begin_upload("token"))
    """

    limits: PartLimits

    def head(self) -> StoredObject | None:
        """Return what the object is; None if there is none."""

    def put(self, content: memoryview, *, token: str, if_absent: bool) -> None:
        """Make the object, with a checksum that the store verifies.

        Parameters
        ----------
        content
            All bytes of it.
        token
            Of the write; stored with the object.
        if_absent
            Do not replace an object.

        Raises
        ------
        StoreError
            ``"exists"``: there is one, and `if_absent`.
        """

    def begin_upload(self, token: str) -> str:
        """Begin an upload in parts.

        Parameters
        ----------
        token
            Of the write; stored with the object.

        Returns
        -------
        str
            Id of the upload.
        """

    def send_part(self, upload: str, number: int, content: memoryview) -> PartReceipt:
        """Send a part, with a checksum that the store verifies.

        Parameters
        ----------
        upload
            Id of the upload.
        number
            Number of the part, from 1 on.
        content
            Its bytes; their number is within `PartLimits`.

        Returns
        -------
        PartReceipt
            What `complete` needs.

        Raises
        ------
        StoreError
            ``"no upload"``: it was completed or aborted.
        """

    def list_parts(self, upload: str) -> list[PartReceipt]:
        """Return the parts that the store has, by number.

        On Azure a part that was sent again with other content is there twice, until one of the two is completed.

        Parameters
        ----------
        upload
            Id of the upload.

        Raises
        ------
        StoreError
            ``"no upload"``; Azure cannot tell that from an upload without parts, and returns none.
        """

    def complete(self, upload: str, parts: Sequence[PartReceipt], *, token: str, if_absent: bool) -> None:
        """Make the object of exactly these parts, by number.

        Parameters
        ----------
        upload
            Id of the upload.
        parts
            What `send_part` has returned, by number.
        token, if_absent
            See `put`.

        Raises
        ------
        StoreError
            ``"part differs"``: the store has another part of that number. ``"exists"``, ``"no upload"``.
        """

    def abort_upload(self, upload: str) -> None:
        """Remove an upload; nothing happens if there is none.

        Parameters
        ----------
        upload
            Its id.

        Raises
        ------
        StoreError
            ``"refused"``: the store can remove it only with what others have written (Azure, for a week).
        """

    def list_uploads(self) -> list[PendingUpload]:
        """Return the uploads of this object that were neither completed nor aborted."""
