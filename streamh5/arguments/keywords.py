"""Keywords of public functions: unknown ones are refused, and flags, numbers and choices are checked.

The checks run before the function begins. The annotation of a parameter, or its name, says what it accepts.
"""

from __future__ import annotations

import functools
import inspect
import operator
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, get_args

import numpy as np

from streamh5.arguments.page_size import read_page
from streamh5.arguments.signatures import shown_signature
from streamh5.errors import KeywordError, SpecError, did_you_mean, listed, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

P = ParamSpec("P")
R = TypeVar("R")

Sync = Literal["close", "batch", "none"]
Keep = Literal["always", "costly", "never"]

_CHOICES = {"sync": get_args(Sync), "keep": get_args(Keep)}
_LIBVERS = {
    "earliest": "v108",
    "v108": "v108",
    "v110": "v110",
    "v112": "v110",
    "v114": "v110",
    "v200": "v200",
    "latest": "v200",
}
"""Bounds of h5py, oldest first, and what streamh5 writes for them: HDF5 1.12 and 1.14 added nothing that it writes."""

_INSTEAD = {
    "alignment_interval": "streamh5 writes chunks one after the other, without gaps",
    "alignment_threshold": "streamh5 writes chunks one after the other, without gaps",
    "dapl": "pass what you would set in it as keywords",
    "dcpl": "pass what you would set in it as keywords",
    "driver": "streamh5 writes to a path, a file object or a Sink: pass io.BytesIO() instead of the core driver",
    "efile_prefix": "streamh5 writes all data to the file itself",
    "external": "streamh5 writes all data to the file itself; use h5py for data in files of their own",
    "fill_time": "readers get the fill value wherever nothing was written",
    "fs_page_size": "pass page= with the size of pages",
    "fs_persist": "streamh5 never reuses space, so it has no strategy for it",
    "fs_strategy": "page=True writes the file with pages; of the others streamh5 needs none, as it reuses no space",
    "fs_threshold": "streamh5 never reuses space, so it has no strategy for it",
    "locking": "streamh5 always locks the file that it writes",
    "meta_block_size": "streamh5 writes all metadata of a file together",
    "min_meta_keep": "streamh5 has no page buffer",
    "min_raw_keep": "streamh5 has no page buffer",
    "page_buf_size": "streamh5 has no page buffer",
    "rdcc_nbytes": "streamh5 writes a chunk once it is complete; File(max_memory=...) limits what it keeps",
    "rdcc_nslots": "streamh5 writes a chunk once it is complete; File(max_memory=...) limits what it keeps",
    "rdcc_w0": "streamh5 writes a chunk once it is complete; File(max_memory=...) limits what it keeps",
    "swmr": "readers need no mode of their own: they see the file as the last File.flush has left it",
    "userblock_size": "write the file, then put a user block before it with h5jam",
    "virtual_prefix": "readers set it when they open the dataset",
}
"""Keywords of h5py that streamh5 does not have, and the reason."""

_INSTEAD_OF: dict[str, dict[str, str]] = {
    **dict.fromkeys(("File", "create_dataset", "require_dataset", "create_dataset_like"), _INSTEAD),
    "to_fixed_h5": {
        "dtype": "the file has the dtype of the array; convert it first: x.astype('f4')",
        "shape": "the file has the shape of the array",
        "data": "give the array after its name: to_fixed_h5(path, '/x', array)",
        "encoding": "its keys are keywords here: chunks, compression, compression_opts, ...",
    },
    "to_netcdf": {
        "chunks": "give chunks by variable: encoding={'x': {'chunksizes': (10, 100)}}",
        "chunksizes": "give them by variable: encoding={'x': {'chunksizes': (10, 100)}}",
        "dtype": "give it by variable: encoding={'x': {'dtype': 'f4'}}",
        "_FillValue": "give it by variable: encoding={'x': {'_FillValue': -1}}",
        "fillvalue": "give it by variable: encoding={'x': {'_FillValue': -1}}",
        "attrs": "they are those of the variables: ds.x.attrs",
        "overwrite": "mode='w', the default, replaces a file; mode='x' does not",
    },
}
"""Keywords that functions do not have, as what they mean is said in another way; by function."""

_COMPRESSIONS = frozenset(("gzip", "lzf", "zstd", "lz4", "blosc", "blosc2", "bitshuffle"))

_LEAST = {"header_slack": 0, "inline": 0, "n_processes": 1, "width": 1}
_TEXTS = frozenset(("resume_key", "url"))


def unknown_keywords(
    function: str, unknown: Iterable[str], known: Iterable[str], others: Iterable[str] = ()
) -> KeywordError:
    """Return the error for unknown keywords of a function; a list of its own has those of `others` last."""
    names, choices = sorted(unknown), [*sorted(known), *sorted(others)]
    instead = _INSTEAD_OF.get(function, {}).get(names[0])
    if instead is not None:
        return KeywordError(f"{function} has no keyword {names[0]}: {instead}", unknown=names, known=choices)
    meant = did_you_mean(names[0], choices)
    if names[0] in _COMPRESSIONS and "compression" in choices:
        meant = f"; did you mean compression={names[0]!r}?"
    return KeywordError(
        f"{function} has no keyword {listed(names)}{meant or f'; it has {listed(choices)}'}",
        unknown=names,
        known=choices,
    )


def check_choice(name: str, value: Any) -> str:
    """Return the value of `sync` or `keep`.

    Raises
    ------
    SpecError
        It is not one of the choices.
    """
    choices = _CHOICES[name]
    if not isinstance(value, str) or value not in choices:
        raise SpecError(
            f"{name} must be one of {', '.join(map(repr, choices))}, not {shown(value)}{_meant(value, choices)}",
            **{name: value},
        )
    return value


def _meant(value: Any, choices: Iterable[str]) -> str:
    return did_you_mean(value.lower(), choices) if isinstance(value, str) else ""


def read_libver(name: str, value: Any) -> str:
    """Return the oldest library for which a file is written, from a `libver` as h5py takes it.

    Parameters
    ----------
    name
        Name of the keyword.
    value
        A version such as ``"v110"``, ``"earliest"``, ``"latest"``, or a tuple of the oldest and the newest of them, of
        which the oldest counts: what it allows, the newest allows, too.

    Returns
    -------
    str
        ``"v108"``, ``"v110"`` or ``"v200"``.

    Raises
    ------
    SpecError
        It is anything else, or the newest is older than the oldest.
    """
    bounds = value if isinstance(value, tuple) and len(value) == 2 else (value, value)
    words = list(_LIBVERS)
    if not all(isinstance(bound, str) and bound in _LIBVERS for bound in bounds):
        raise SpecError(
            f"{name} must be one of {', '.join(map(repr, words))}, or a tuple of the oldest and the newest, not "
            f"{shown(value)}{_meant(value, words)}",
            **{name: value},
        )
    if words.index(bounds[0]) > words.index(bounds[1]):
        raise SpecError(
            f"{name} {shown(value)} names the newest first; give (oldest, newest)", **{name: value}
        )
    return _LIBVERS[bounds[0]]


def check_flag(name: str, value: Any) -> bool:
    """Return a flag as a bool; 0, 1 and numpy's bools are accepted.

    Raises
    ------
    SpecError
        It is anything else, such as text, which Python would treat as true.
    """
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, Integral) and value in (0, 1)):
        return bool(value)
    raise SpecError(f"{name} must be True or False, not {shown(value)}", **{name: value})


def check_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that it refuses unknown keywords, and wrong values of its parameters.

    The error for an unknown keyword suggests a similar one. Flags, numbers and choices are checked according to the
    annotation or the name of their parameter.

    Parameters
    ----------
    function
        A function whose annotations are text (``from __future__ import annotations``).
    """
    parameters = inspect.signature(function).parameters
    known = {
        name
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD) and name != "self"
    }
    takes_others = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
    positional = [name for name, one in parameters.items() if one.kind == one.POSITIONAL_OR_KEYWORD]
    checks = {
        name: check for name, one in parameters.items() if (check := _check_of(name, str(one.annotation)))
    }
    function_name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if not takes_others and not kwargs.keys() <= known:
            raise unknown_keywords(function_name, kwargs.keys() - known, known)
        values: list[Any] = list(args)
        for i, name in enumerate(positional[: len(values)]):
            if name in checks:
                values[i] = checks[name](name, values[i])
        for name in kwargs.keys() & checks.keys():
            kwargs[name] = checks[name](name, kwargs[name])
        return function(*values, **kwargs)

    checked.__signature__ = shown_signature(function)  # type: ignore[attr-defined] # as `wraps` sets __wrapped__
    return checked


def _check_of(name: str, annotation: str) -> Callable[[str, Any], Any] | None:
    """Return the check of a parameter, which returns its value in the right type; None if there is none."""
    if name in _CHOICES:
        return check_choice
    if name == "libver":
        return read_libver
    if name == "page":  # None stays: `convert` with ``cloud=True`` decides then
        return lambda name, value: None if value is None else read_page(name, value)
    if name in _TEXTS:
        return _text
    is_optional = annotation.endswith(" | None")
    check = {"bool": check_flag, "int": _integer, "bool | Callable[[int, int], object]": _progress}.get(
        annotation.removesuffix(" | None")
    )
    if check is None or not is_optional:
        return check
    return lambda name, value: None if value is None else check(name, value)


def _integer(name: str, value: Any) -> int:
    countable: Any = None if isinstance(value, (bool, np.bool_)) else value  # a bool has an __index__, too
    try:
        number = operator.index(countable)
    except TypeError:
        raise SpecError(f"{name} must be an integer, not {shown(value)}", **{name: value}) from None
    if number < _LEAST.get(name, number):
        raise SpecError(f"{name} must be at least {_LEAST[name]}, not {shown(value)}", **{name: value})
    return number


def _progress(name: str, value: Any) -> Any:
    if callable(value):
        return value
    try:
        return check_flag(name, value)
    except SpecError:
        raise SpecError(
            f"{name} must be True, False, None or a function of the bytes done and the total, not {shown(value)}",
            **{name: value},
        ) from None


def _text(name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise SpecError(f"{name} must be a str, not {shown(value)}", **{name: value})
