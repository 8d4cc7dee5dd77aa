"""A Sphinx extension: types of parameters, from the annotations, as readers of the reference know them.

The docstrings name no types, because the annotations do. What is public is shown under the name that users import:
``streamh5.File``, wherever it is defined.
"""

from __future__ import annotations

import inspect
import itertools
import re
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from sphinx.util.inspect import stringify_signature

import streamh5

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

WORDS = {
    "Destination": "path, URL, binary file or Sink",
    "LocalPath": "path",
    "WorkerPath": "path or dict",
    "MemorySize": "int or str",
    "Sync": '{"close", "batch", "none"}',
    "Keep": '{"always", "costly", "never"}',
    "Buffer": "bytes-like",
    "Bytes": "bytes-like",
    "Node": "object",
    "N": "object",
    "Path": "Path",
    "ChunkRecords": "ndarray",
    "Hyperslab": "selection",
    "Values": "tuple of int",
    "Encode": "callable",
    "Decode": "callable",
    "Raw": "array",
}
"""Names of the annotations that are not public: what they mean."""

_CONTAINERS = {
    "Mapping": "dict",
    "Sequence": "sequence",
    "Iterator": "iterator",
    "NDArray": "ndarray",
    "Callable": "callable",
}


def split_at(text: str, mark: str) -> list[str]:
    """Split an annotation where the mark is outside of brackets."""
    depth, parts = 0, [""]
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == mark and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def readable(annotation: str) -> str:
    """Return a type as a reader knows it; empty for anything.

    Parameters
    ----------
    annotation
        The annotation of a parameter or of a field, as its module has it.
    """
    kinds = []
    for one in split_at(annotation, "|"):
        name, _, inner = one.partition("[")
        name = name.rpartition(".")[2]
        if name in ("None", "Any", "object", ""):
            continue
        if name == "Literal":
            kinds.append("{" + inner.removesuffix("]").replace("'", '"') + "}")
        elif name == "tuple" and inner.endswith("...]"):
            kinds.append(f"tuple of {readable(split_at(inner, ',')[0])}".removesuffix(" of "))
        elif name in ("list", "Sequence") and inner:
            kinds.append(f"{_CONTAINERS.get(name, name)} of {readable(inner[:-1])}".removesuffix(" of "))
        else:
            kinds.append(_CONTAINERS.get(name) or WORDS.get(name, name))
    return ", ".join(kinds[:-1]) + (" or " if len(kinds) > 1 else "") + kinds[-1] if kinds else ""


def _annotations(value: Any) -> dict[str, tuple[str, Any]]:
    """Return annotation and default of each parameter, and of each field of a class."""
    found: dict[str, tuple[str, Any]] = {}
    if inspect.isclass(value):
        for base in reversed(value.__mro__):
            found |= {
                # a NamedTuple has ForwardRef('int') for int
                k: (getattr(v, "__forward_arg__", str(v)), inspect.Parameter.empty)
                for k, v in vars(base).get("__annotations__", {}).items()
            }
        found |= {
            name: (str(one.fget.__annotations__.get("return", "")), inspect.Parameter.empty)
            for name, one in inspect.getmembers(value, lambda one: isinstance(one, property))
        }
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return found
    named = {
        one.name: (getattr(one.annotation, "__forward_arg__", str(one.annotation)), one.default)
        for one in parameters
        if one.annotation is not one.empty
    }
    return found | named


def _type_of(names: str, known: dict[str, tuple[str, Any]]) -> str:
    """Return the type of one entry, which may name several parameters; empty if they differ."""
    found = {known.get(name.strip(" *"), ("", inspect.Parameter.empty)) for name in names.split(",")}
    if len(found) != 1:
        return ""
    annotation, default = found.pop()
    parts = [readable(annotation)]
    if default is None or inspect.isfunction(default):  # its repr has an address
        parts.append("optional")
    elif default is not inspect.Parameter.empty:
        parts.append("default " + repr(default).replace("'", '"'))
    return ", ".join(filter(None, parts))


def add_types(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Add types to the entries of the sections Parameters and Attributes, and links to the pages that are named."""
    lines[:] = [re.sub(r"\bdocs/([\w-]+)\.md\b", r":doc:`/\1`", line) for line in lines]
    known = _annotations(value)
    title = ""
    for i, (line, following) in enumerate(itertools.pairwise([*lines, ""])):
        if re.fullmatch("-{3,}", line):
            title = lines[i - 1]
        is_entry = re.fullmatch(r"[*\w]+(, [*\w]+)*", line) and following.startswith(" ")
        if title in ("Parameters", "Attributes") and is_entry and (kind := _type_of(line, known)):
            lines[i] = f"{line} : {kind}"


def is_made_by_users(kind: type) -> bool:
    """Return whether users call a class, rather than get what it makes."""
    document = inspect.getdoc(kind) or ""
    is_given = kind in (streamh5.Reference, streamh5.RegionReference) or kind.__name__.endswith("Link")
    return is_given or not (
        is_dataclass(kind) or "made by" in document or issubclass(kind, (BaseException, tuple))
    )


def short_signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """Return a signature without annotations, and without anything for a class that users do not call."""
    if signature is None:
        return None
    if inspect.isclass(value):
        if not is_made_by_users(value) or getattr(value, "_is_protocol", False):
            return "", None
    elif not inspect.isroutine(value):
        return None
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return None
    parameters = [one for one in found.parameters.values() if one.name != "self"]
    text = stringify_signature(
        found.replace(parameters=parameters), show_annotation=False, show_return_annotation=False
    )
    has_returns = re.search(r"^\s*(Returns|Yields)\n", value.__doc__ or "", re.MULTILINE)
    result = "" if inspect.isclass(value) else str(found.return_annotation)
    return text, None if has_returns or result in ("None", "", "NoReturn") else result


def configure(app: Sphinx, config: Config) -> None:
    """Set what goes with the functions above."""
    config.default_role = "py:obj"
    config.smartquotes = False  # the quotes of a value are code
    config.toc_object_entries_show_parents = "hide"
    config.autodoc_typehints = "signature"  # of properties; `short_signature` drops those of functions
    config.numpydoc_xref_param_type = True
    config.numpydoc_xref_ignore = "all"  # links only to these
    names = [*streamh5.__all__, *(f"errors.{name}" for name in streamh5.errors.__all__)]
    config.numpydoc_xref_aliases = {name.rpartition(".")[2]: f"streamh5.{name}" for name in names}
    config.numpydoc_xref_aliases |= {
        "Sink": "streamh5.sinks.base.Sink",
        "StreamH5Error": "streamh5.StreamH5Error",
    }


def only_own_links(app: Sphinx) -> None:
    """Drop numpydoc's links to the glossary of Python, which is not part of the site."""
    app.config.numpydoc_xref_aliases_complete = app.config.numpydoc_xref_aliases


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the functions to autodoc, before numpydoc reads the docstring."""
    app.connect("config-inited", configure, priority=1)
    app.connect("builder-inited", only_own_links, priority=900)
    app.connect("autodoc-process-docstring", add_types, priority=100)
    app.connect("autodoc-process-signature", short_signature, priority=900)
    return {"parallel_read_safe": True}
