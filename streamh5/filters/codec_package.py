"""Codec packages that are not installed with streamh5."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from streamh5.errors import MissingCodecError

EXTRA = "codecs"


@functools.cache
def codec_package(package: str, filter_name: str) -> Any:
    """Import a codec package of the extra ``codecs``, once.

    Raises
    ------
    MissingCodecError
        If it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingCodecError(
            f"filter {filter_name!r} needs the package {package!r}, which is not installed:"
            f" pip install 'streamh5[{EXTRA}]'",
            package=package,
            extra=EXTRA,
            filter=filter_name,
        ) from error
