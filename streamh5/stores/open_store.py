"""From a URL and ``storage_options`` to an object store."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from streamh5.arguments.paths import LocalPath, local_path, object_url
from streamh5.errors import MissingCodecError, SpecError, shown
from streamh5.stores.failures import translated

if TYPE_CHECKING:
    from streamh5.stores.base import ObjectStore, ReadableObject

_STORES = {
    "s3": ("streamh5.stores.s3", "S3Store", "s3"),
    "s3a": ("streamh5.stores.s3", "S3Store", "s3"),
    "gs": ("streamh5.stores.gcs", "GCSStore", "gcs"),
    "gcs": ("streamh5.stores.gcs", "GCSStore", "gcs"),
    "az": ("streamh5.stores.azure", "AzureStore", "azure"),
    "abfs": ("streamh5.stores.azure", "AzureStore", "azure"),
    "abfss": ("streamh5.stores.azure", "AzureStore", "azure"),
    "memory": ("streamh5.stores.memory", "MemoryStore", ""),
}
"""Module and class of each protocol, and the extra that brings its package."""

_READ_ONLY = {
    "http": ("streamh5.stores.http", "HttpObject", "http"),
    "https": ("streamh5.stores.http", "HttpObject", "http"),
}
"""The same for protocols that are only read."""

_CREDENTIALS = re.compile(r"(?<=://)[^/@]*:[^/@]*@|\?.*", re.DOTALL)


def check_object_url(url: str) -> str:
    """Return the protocol of a URL, or refuse it.

    Raises
    ------
    SpecError
        It is of a protocol that cannot be written, or names no object.
    """
    named = _CREDENTIALS.sub("", url)
    protocol, _, rest = url.partition("://")
    if protocol.lower() not in _STORES:
        raise SpecError(
            f"{named:.200} is a URL of a kind that streamh5 does not write: s3://, gs://, az://, abfs:// and memory:// "
            "are (http:// is read); use a local file and upload or download it, or write to an open file object"
        )
    bucket, _, key = rest.partition("/")
    if (
        _CREDENTIALS.search(url)
        or ":" in bucket  # a password with a slash
        or not (key.strip("/") or (protocol == "memory" and bucket))
        or key.endswith("/")
    ):
        raise SpecError(
            f"{named:.200} does not name an object: a URL is {protocol}://bucket/name, without a question mark; "
            "credentials belong in storage_options"
        )
    return protocol.lower()


def open_store(url: str, storage_options: Mapping[str, Any] | None = None) -> ObjectStore:
    """Return the store of an object; nothing is requested yet.

    Parameters
    ----------
    url
        ``s3://``, ``gs://``, ``gcs://``, ``az://``, ``abfs://`` or ``memory://``.
    storage_options
        As for fsspec's file system of that protocol.

    Raises
    ------
    SpecError
        It cannot be written, or the options are not those of its file system.
    MissingCodecError
        The package for it is not installed.
    """
    store: ObjectStore = _made(url, _STORES[check_object_url(url)], storage_options)
    return store


def open_readable(path: LocalPath, storage_options: Mapping[str, Any] | None = None) -> str | ReadableObject:
    """Return a local path as text, or the object of a URL; nothing is requested yet.

    Parameters
    ----------
    path
        A local path, or a URL as for `open_store`, ``http://`` or ``https://``.
    storage_options
        As for `open_store`.

    Raises
    ------
    SpecError, MissingCodecError
        See `open_store`; or there are options for a local path.
    """
    name = local_path(path)
    url = object_url(name)
    if url is None:
        refuse_storage_options(name, storage_options)
        return name
    protocol = url.partition("://")[0].lower()
    if protocol in _READ_ONLY:
        found: ReadableObject = _made(url, _READ_ONLY[protocol], storage_options)
        return found
    return open_store(url, storage_options)


def _made(url: str, row: tuple[str, str, str], storage_options: Mapping[str, Any] | None) -> Any:
    if storage_options is not None and not isinstance(storage_options, Mapping):
        raise SpecError(f"storage_options must be a dictionary, not {type(storage_options).__name__}")
    module, name, extra = row
    named = _CREDENTIALS.sub("", url)
    try:
        made = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MissingCodecError(
            f"{named:.100} needs a package that is not installed ({error.name}): pip install 'streamh5[{extra}]'"
        ) from error
    return translated(
        lambda: made(url, dict(storage_options or {})),
        (TypeError,),
        lambda error: SpecError(  # values may be secrets: only the names
            f"storage_options of {named:.100} has names that its file system does not know: "
            f"{shown(sorted(storage_options or {}))}"
        ),
    )


def refuse_storage_options(name: str, storage_options: Mapping[str, Any] | None) -> None:
    """Refuse options for what is not the URL of an object.

    Raises
    ------
    SpecError
        There are options.
    """
    if storage_options:
        raise SpecError(
            f"storage_options are for the URL of an object, and {name:.100} is none: leave them out"
        )


def package_extra(url: str) -> str:
    """Return the extra of streamh5 that brings the package for a URL."""
    return _STORES[check_object_url(url)][2]
