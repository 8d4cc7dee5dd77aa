"""What a person holds: references to the chunks of one file, to be turned into a form that others read."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.paths import LocalPath, local_path
from streamh5.errors import (
    DestinationExistsError,
    DestinationMissingError,
    ReferencesError,
    SpecError,
)
from streamh5.model.object_path import split_path
from streamh5.references.attributes import json_attributes
from streamh5.references.dimensions import dimension_names, is_only_dimension, variable_path
from streamh5.references.from_file import read_file
from streamh5.references.from_tree import read_tree
from streamh5.references.kerchunk import kerchunk_dict, kerchunk_json
from streamh5.references.kerchunk_parquet import RECORD_SIZE, check_pyarrow, write_parquet
from streamh5.references.publication import is_references, publish_references
from streamh5.references.texts import read_texts
from streamh5.references.virtual_arrays import check_virtualizarr, manifest_array, manifest_group
from streamh5.references.zarr_array import zarr_array
from streamh5.sinks.destination_path import check_path, real_path

if TYPE_CHECKING:
    from virtualizarr.manifests import ManifestGroup

    from streamh5.model.tree import GroupNode
    from streamh5.references.chunk_manifest import ChunkManifest
    from streamh5.references.stored_file import StoredFile
    from streamh5.references.zarr_array import ZarrArray

__all__ = ["FileReferences", "check_destination", "read_references"]

FORMATS = ("json", "parquet")


class FileReferences:
    """References to the chunks of one file; made by `read_references` or `WriteSummary.references`.

    Parameters
    ----------
    file
        What the file holds.
    url
        Where readers find it; the absolute path of the file by default.

    Attributes
    ----------
    url
        As above.
    refused
        Why a dataset cannot be referred to, by path: a filter without codec, a type that zarr has not, chunks
        that have passed different filters.
    """

    def __init__(self, file: StoredFile, url: str | None = None) -> None:
        self.url = url or (file.path if "://" in file.path else os.path.abspath(file.path))
        self.refused: dict[str, str] = {}
        groups = sorted(file.groups, key=_depth)
        self._groups = {path: json_attributes(file.groups[path]) for path in groups}
        self._arrays: list[ZarrArray] = []
        self._path = file.path
        names = dimension_names(file.arrays)
        taken = set(file.groups)
        for array in sorted(file.arrays, key=lambda one: _depth(one.path)):
            if is_only_dimension(array):
                continue
            try:
                if variable_path(array.path) in taken:
                    raise ReferencesError(f"{array.path}: another object has this path for zarr already")
                self._arrays.append(zarr_array(array, names.get(array.path, ()), self.url, self._read_text))
                taken.add(variable_path(array.path))
            except ReferencesError as error:
                self.refused[array.path] = str(error)

    def _read_text(self, dataset: str) -> np.ndarray[Any, Any]:
        return read_texts(self._path, dataset)

    def __repr__(self) -> str:
        n_chunks = sum(len(array.manifest) for array in self._arrays)
        refused = f", {len(self.refused)} refused" if self.refused else ""
        return f"<streamh5.FileReferences {self.url!r}: {len(self._arrays)} arrays, {n_chunks:,} chunks{refused}>"

    def to_dict(self) -> dict[str, Any]:
        """Return what there are references to as dicts, lists and numbers, for JSON.

        The references themselves are what `to_kerchunk` returns.
        """
        return {
            "url": self.url,
            "groups": list(self._groups),
            "arrays": [array.to_dict() for array in self._arrays],
            "refused": dict(self.refused),
        }

    @check_keywords
    def manifest(self, *, skip: bool = False) -> dict[str, ChunkManifest]:
        """Return where the chunks of each array lie, as numpy columns, by path.

        Parameters
        ----------
        skip
            Leave out what cannot be referred to.

        Raises
        ------
        ReferencesError
            A dataset that cannot be referred to.
        """
        return {array.path: array.manifest for array in self._checked(skip)}

    @check_keywords
    def to_kerchunk(
        self,
        path: LocalPath | None = None,
        *,
        format: str | None = None,
        inline: int = 0,
        skip: bool = False,
        overwrite: bool = False,
        record_size: int = RECORD_SIZE,
    ) -> dict[str, Any] | None:
        """Write references in kerchunk's form, or return them.

        Parameters
        ----------
        path
            A JSON file, or a directory of Parquet files; None returns a dictionary, which only JSON has.
        format
            ``"json"`` or ``"parquet"``; by default as `path` ends.
        inline
            Put data of one chunk into the references, up to this many stored bytes: readers get it with
            them.
        skip
            Leave out what cannot be referred to (`refused`).
        overwrite
            Replace references of that name.
        record_size
            Chunks of one Parquet file.

        Raises
        ------
        ReferencesError
            A dataset that cannot be referred to; the message names it.
        SpecError
            A format that is not known, or Parquet without `path`.
        SinkError
            `path` exists, or cannot be written.
        MissingCodecError
            Parquet without pyarrow.
        """
        if path is None:
            if format not in (None, "json"):
                raise SpecError(f"references: format={format!r} is written to files; give a path (--output)")
            return kerchunk_dict(self._groups, self._inlined(inline, skip))
        kind = check_destination(path, format=format, overwrite=overwrite)
        if record_size < 1:
            raise SpecError(f"record_size must be at least 1, not {record_size}", record_size=record_size)
        arrays = self._inlined(inline, skip)

        def write(new: Path) -> None:
            if kind == "parquet":
                new.mkdir()
                write_parquet(new, self._groups, arrays, record_size=record_size)
            else:
                with new.open("xb") as file:
                    file.writelines(kerchunk_json(self._groups, arrays))

        publish_references(real_path(path), kind, write, overwrite=overwrite)
        return None

    @check_keywords
    def to_virtualizarr(self, *, skip: bool = False) -> ManifestGroup:
        """Return the file as VirtualiZarr's `ManifestGroup`; its ``to_virtual_dataset`` is an xarray dataset.

        Parameters
        ----------
        skip
            Leave out what cannot be referred to, and what has no chunks in the file (strings of variable
            length, compact data).

        Raises
        ------
        ReferencesError
            A dataset that cannot be referred to.
        MissingCodecError
            VirtualiZarr is not installed.
        """
        check_virtualizarr()
        arrays = {
            array.path: manifest_array(array)
            for array in self._checked(skip)
            if not (skip and array.content is not None)
        }
        return manifest_group(self._groups, arrays)

    def _checked(self, skip: bool) -> list[ZarrArray]:
        if self.refused and not skip:
            first = next(iter(self.refused.values()))
            more = f" (and {len(self.refused) - 1:,} more datasets)" if len(self.refused) > 1 else ""
            raise ReferencesError(f"{first}{more}; skip=True leaves it out", refused=dict(self.refused))
        return self._arrays

    def _inlined(self, inline: int, skip: bool) -> list[ZarrArray]:
        """Arrays, those of one small chunk with its bytes."""
        arrays = self._checked(skip)
        if inline <= 0:
            return arrays
        with open(self._path, "rb") as file:
            return [_with_content(array, file, inline) for array in arrays]


@check_keywords
def read_references(path: LocalPath, *, url: str | None = None, safe: bool = False) -> FileReferences:
    """Make references to the chunks of a file, whoever wrote it.

    Parameters
    ----------
    path
        The file.
    url
        Where readers will find it; its absolute path by default.
    safe
        Let the HDF5 library read in a child process: for files that are not trusted.

    Raises
    ------
    UnreadableError
        There is no such file, it is not an HDF5 file, or it is damaged; the message names the object.
    """
    return FileReferences(read_file(local_path(path), safe=safe), url)


def tree_references(root: GroupNode, path: str, *, url: str | None = None) -> FileReferences:
    """Make references to the chunks of a file that was just written, from its tree."""
    return FileReferences(read_tree(root, path), url)


def _with_content(array: ZarrArray, file: BinaryIO, inline: int) -> ZarrArray:
    manifest = array.manifest
    if len(manifest) != 1 or manifest.n_missing or int(manifest.lengths[0]) > inline:
        return array
    file.seek(int(manifest.offsets[0]))
    return replace(array, content=file.read(int(manifest.lengths[0])))


def _depth(path: str) -> tuple[int, str]:
    """Sort key: parents first, then by name."""
    return len(split_path(path)), path


def check_destination(path: LocalPath, *, format: str | None = None, overwrite: bool = False) -> str:
    """Return the format of references at `path`, and refuse what cannot be written there.

    Raises
    ------
    SpecError
        A format that is not known, an ending that says none, or a URL.
    DestinationExistsError
        Something is there already, and not to be replaced or no references.
    DestinationMissingError
        Its directory is not there.
    MissingCodecError
        Parquet without pyarrow.
    """
    check_path(path)
    target = real_path(path)
    suffix = Path(local_path(path)).suffix
    kind = format or {".json": "json", ".parquet": "parquet", ".parq": "parquet"}.get(suffix)
    if kind not in FORMATS:
        wrong = (
            f"format must be 'json' or 'parquet', not {format!r}" if format else f"{target} ends in neither"
        )
        raise SpecError(f"references: {wrong} .json nor .parquet" if not format else f"references: {wrong}")
    if kind == "parquet":
        check_pyarrow()
    if not target.parent.is_dir():
        raise DestinationMissingError(
            f"references: the directory {target.parent} does not exist; create it first",
            path=str(target),
        )
    if os.path.lexists(target) and not (overwrite and is_references(target, kind)):
        hint = (
            "pass overwrite=True to replace it"
            if is_references(target, kind)
            else "it is not what would be replaced: remove it"
        )
        raise DestinationExistsError(f"references: {target} exists; {hint}", path=str(target))
    return kind
