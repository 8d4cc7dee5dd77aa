"""Paths of objects in a file, and their link names: ``/run1/x`` <-> ``("run1", "x")``."""

from __future__ import annotations

from streamh5.errors import PathError, over_limit, shown
from streamh5.format.character_set import decode_text, encode_text

MAX_LINK_NAME_NBYTES = 65_535 - 21
"""A link message has at most 65,535 bytes; a hard link with creation order needs 21 besides its name."""


def split_path(path: str | bytes) -> tuple[str, ...]:
    """Split a path into link names, as the library's ``H5G_traverse`` does.

    A leading ``/`` may be omitted (paths are relative to the root group), and repeated slashes
    count as one. ``.`` and ``..`` are refused: HDF5 skips the first and has no meaning for the
    second, so neither does what the user expects.

    Parameters
    ----------
    path
        Absolute or relative path of an object; ``"/"`` is the root group. Bytes need not be UTF-8.

    Returns
    -------
    tuple of str
        Link names from the root; empty for the root group.

    Raises
    ------
    PathError
        The path is not a str, is empty, or has a component ``.`` or ``..``, a NUL character or a lone surrogate that
        does not represent a byte.
    """
    path = decode_text(path)
    if not isinstance(path, str):
        raise PathError(f"a path must be a str such as '/run1/x', not {type(path).__name__}: {path!r}")
    if not path:
        raise PathError("the path is empty; name the object, for example '/x'")
    names = tuple([name for name in path.split("/") if name])
    for name in names:
        check_link_name(name, path=path)
    return names


def check_link_name(name: str, *, path: str) -> None:
    """Refuse a link name that HDF5 cannot store.

    Raises
    ------
    PathError
        The name is ``.`` or ``..``, or has a NUL character or no UTF-8 encoding.
    LimitError
        The name is longer than `MAX_LINK_NAME_NBYTES`.
    """
    if name in (".", ".."):
        raise PathError(
            f"path {path!r} has the component {name!r}; HDF5 links have no relative names", path=path
        )
    if "\0" in name:
        raise PathError(f"path {path!r} contains a NUL character, which ends a name in HDF5", path=path)
    try:
        nbytes = len(encode_text(name))
    except UnicodeEncodeError as error:
        raise PathError(f"path {path!r} cannot be encoded as UTF-8: {error.reason}", path=path) from error
    if nbytes > MAX_LINK_NAME_NBYTES:
        subject = f"path {path[:40]!r}... has a link name of {nbytes:,} bytes"
        raise over_limit(subject, MAX_LINK_NAME_NBYTES, path=path, nbytes=nbytes)


def join_path(names: tuple[str, ...]) -> str:
    """Return the absolute path of link names: the inverse of `split_path`."""
    return "/" + "/".join(names)


def check_new_path(path: str) -> str:
    """Return the absolute path of a new dataset.

    Raises
    ------
    PathError
        The path is the root group, or HDF5 cannot store it.
    """
    names = split_path(path)
    if not names:
        raise PathError(f"{shown(path)} is the root group; name a dataset in it, for example '/x'", path=path)
    return join_path(names)
