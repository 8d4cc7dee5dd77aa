"""From a URL and ``storage_options`` to an object store."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from streamh5.errors import MissingCodecError, SpecError, shown

if TYPE_CHECKING:
    from streamh5.stores.base import ObjectStore

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
            "are; write to a local file and upload it, or pass an open file object"
        )
    bucket, _, key = rest.partition("/")
    if (
        _CREDENTIALS.search(url)
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
    protocol = check_object_url(url)
    if storage_options is not None and not isinstance(storage_options, Mapping):
        raise SpecError(f"storage_options must be a dictionary, not {type(storage_options).__name__}")
    module, name, extra = _STORES[protocol]
    try:
        made = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MissingCodecError(
            f"{protocol}:// needs a package that is not installed ({error.name}): pip install 'streamh5[{extra}]'"
        ) from error
    try:
        store: ObjectStore = made(url, dict(storage_options or {}))
    except TypeError as error:  # values may be secrets: only the names
        raise SpecError(
            f"storage_options of {url} has names that its file system does not know: "
            f"{shown(sorted(storage_options or {}))}"
        ) from error
    return store


def package_extra(url: str) -> str:
    """Return the extra of streamh5 that brings the package for a URL."""
    return _STORES[check_object_url(url)][2]
