"""The public object: references to the chunks of one file, and the forms in which it writes them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.paths import LocalPath, object_url
from streamh5.errors import ReferencesError, SpecError, StreamH5Error, counted
from streamh5.model.object_path import split_path
from streamh5.reader.file_bytes import FileBytes
from streamh5.references.attributes import (
    dimension_names,
    is_only_dimension,
    json_attributes,
    variable_path,
)
from streamh5.references.from_file import read_file
from streamh5.references.from_tree import describe_tree
from streamh5.references.kerchunk import kerchunk_dict, kerchunk_json
from streamh5.references.kerchunk_parquet import RECORD_SIZE, write_parquet
from streamh5.references.publication import check_references_path, publish_references
from streamh5.references.virtual_arrays import check_virtualizarr, manifest_array, manifest_group
from streamh5.references.zarr_array import zarr_array
from streamh5.references.zarr_elements import check_expressible
from streamh5.stores.open_store import open_readable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from virtualizarr.manifests import ManifestGroup

    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.tree import GroupNode
    from streamh5.references.stored_file import StoredFile
    from streamh5.references.zarr_array import ChunkManifest, ZarrArray
    from streamh5.stores.base import ReadableObject


class FileReferences:
    """References to the chunks of one file; made by `read_references` or `WriteSummary.references`.

    Parameters
    ----------
    file
        Groups and arrays of the file.
    url
        Where readers find the file; by default its own URL or absolute path.
    source
        The object in a store in which the file lies; None for a local file.

    Attributes
    ----------
    url
        Where readers find the file.
    refused
        Why a dataset cannot be referred to, by path: a filter without a codec, a type that zarr does not have, chunks
        that have passed different filters.

    Examples
    --------
    >>> x = np.ones((1000, 1000))
    >>> summary = streamh5.to_fixed_h5("x.h5", "/x", x, chunks=(500, 500), compression=None)
    >>> references = streamh5.read_references("x.h5")
    >>> references.refused, references.to_dict()["arrays"][0]["n_chunks"]
    ({}, 4)
    >>> sorted(references.to_kerchunk()["refs"])
    ['.zattrs', '.zgroup', '.zmetadata', 'x/.zarray', 'x/.zattrs', 'x/0.0', 'x/0.1', 'x/1.0', 'x/1.1']
    """

    def __init__(
        self, file: StoredFile, url: str | None = None, source: ReadableObject | None = None
    ) -> None:
        self.url = url or (file.path if "://" in file.path else os.path.abspath(file.path))
        self.refused: dict[str, str] = {}
        groups = sorted(file.groups, key=_depth)
        self._groups = {path: json_attributes(file.groups[path]) for path in groups}
        self._arrays: list[ZarrArray] = []
        self._path = file.path
        self._source = source
        names = dimension_names(file.arrays)
        taken = set(file.groups)
        for array in sorted(file.arrays, key=lambda one: _depth(one.path)):
            if is_only_dimension(array):
                continue
            try:
                if variable_path(array.path) in taken:
                    raise ReferencesError(f"{array.path}: another object already has this path in zarr")
                self._arrays.append(zarr_array(array, names.get(array.path, ()), self.url))
                taken.add(variable_path(array.path))
            except ReferencesError as error:
                self.refused[array.path] = str(error)

    def __repr__(self) -> str:
        n_chunks = sum(len(array.manifest) for array in self._arrays)
        refused = f", {len(self.refused)} refused" if self.refused else ""
        found = f"{counted(len(self._arrays), 'array')}, {counted(n_chunks, 'chunk')}{refused}"
        return f"<streamh5.FileReferences {self.url!r}: {found}>"

    def to_dict(self) -> dict[str, Any]:
        """Return a summary of the arrays as dicts, lists and numbers, for JSON.

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
            Omit datasets that cannot be referred to.

        Raises
        ------
        ReferencesError
            A dataset that cannot be referred to.

        Examples
        --------
        >>> x = np.ones((1000, 1000))
        >>> summary = streamh5.to_fixed_h5("x.h5", "/x", x, chunks=(500, 500), compression=None)
        >>> streamh5.read_references("x.h5").manifest()["/x"].grid
        (2, 2)
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
        storage_options: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        """Write references in kerchunk's form, or return them.

        Parameters
        ----------
        path
            A JSON file, or a directory of Parquet files, as path or URL; None returns the JSON form as a dictionary.
        format
            ``"json"`` or ``"parquet"``; by default, the ending of `path` decides.
        inline
            Copy data of a single chunk of up to this many stored bytes into the references.
        skip
            Omit datasets that cannot be referred to (`refused`).
        overwrite
            Replace existing references.
        record_size
            Chunks of one Parquet file.
        storage_options
            For URLs, of `path` and of a file that was just written: credentials and the like, as for fsspec's file
            system of its protocol. JSON is one object, Parquet one for each file.

        Returns
        -------
        dict or None
            The references, ``{"version": 1, "refs": {...}}``, if `path` is None.

        Raises
        ------
        ReferencesError
            A dataset that cannot be referred to; the message names it.
        SpecError
            The format is unknown, or it is Parquet without `path`.
        SinkError
            `path` exists, or cannot be written.
        MissingCodecError
            Parquet files need pyarrow, which is not installed.
        """
        if path is None:
            if format not in (None, "json"):
                raise SpecError(f"references: format={format!r} is written to files; give a path (--output)")
            return kerchunk_dict(self._groups, self._inlined(inline, skip, storage_options))
        kind = check_references_path(
            path, format=format, overwrite=overwrite, storage_options=storage_options
        )
        if record_size < 1:
            raise SpecError(f"record_size must be at least 1, not {record_size}", record_size=record_size)
        arrays = self._inlined(inline, skip, storage_options)

        def write(new: Path) -> None:
            if kind == "parquet":
                new.mkdir()
                write_parquet(new, self._groups, arrays, record_size=record_size)
            else:
                with new.open("xb") as file:
                    file.writelines(kerchunk_json(self._groups, arrays))

        publish_references(path, kind, write, overwrite=overwrite, storage_options=storage_options)
        return None

    @check_keywords
    def to_virtualizarr(self, *, skip: bool = False) -> ManifestGroup:
        """Return the file as VirtualiZarr's `ManifestGroup`; its ``to_virtual_dataset`` is an xarray dataset.

        Parameters
        ----------
        skip
            Omit datasets that cannot be referred to, and those without chunks in the file (strings of variable
            length, compact data).

        Raises
        ------
        ReferencesError
            A dataset that cannot be referred to.
        MissingCodecError
            VirtualiZarr is not installed.

        Examples
        --------
        >>> x = np.ones((1000, 1000))
        >>> summary = streamh5.to_fixed_h5("x.h5", "/x", x, chunks=(500, 500), compression=None)
        >>> group = streamh5.read_references("x.h5").to_virtualizarr()
        >>> group.arrays["x"].shape
        (1000, 1000)
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

    def _inlined(self, inline: int, skip: bool, storage_options: Mapping[str, Any] | None) -> list[ZarrArray]:
        """Return the arrays, those of one small chunk with its bytes."""
        arrays = self._checked(skip)
        if inline <= 0:
            return arrays
        is_local = object_url(self._path) is None
        source = self._source or open_readable(self._path, None if is_local else storage_options)
        with FileBytes(source) as file:
            return [_with_content(array, file, inline) for array in arrays]


@check_keywords
def read_references(
    path: LocalPath,
    *,
    url: str | None = None,
    safe: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> FileReferences:
    """Return references to the chunks of any HDF5 file, whichever program wrote it.

    Parameters
    ----------
    path
        Path or URL of the file.
    url
        Where readers will find it; by default, its URL or absolute path.
    safe
        Let the HDF5 library read in a child process: for files that are not trusted.
    storage_options
        For a URL: credentials and the like, as for fsspec's file system of its protocol. They are not part of the
        references: readers bring their own (``remote_options`` of fsspec's reference file system).

    Raises
    ------
    UnreadableError
        The file does not exist, is not an HDF5 file, or is damaged; the message names the object.

    Examples
    --------
    >>> x = np.ones((1000, 1000))
    >>> summary = streamh5.to_fixed_h5("x.h5", "/x", x, chunks=(500, 500), compression=None)
    >>> streamh5.read_references("x.h5", url="s3://bucket/x.h5").to_kerchunk("x.json")
    """
    source = open_readable(path, storage_options)
    file = read_file(source, safe=safe)
    return FileReferences(file, url, None if isinstance(source, str) else source)


def tree_references(root: GroupNode, path: str, *, url: str | None = None) -> FileReferences:
    """Return references to the chunks of a file that was just written, from its tree."""
    return FileReferences(describe_tree(root, path), url)


def _with_content(array: ZarrArray, file: FileBytes, inline: int) -> ZarrArray:
    manifest = array.manifest
    if len(manifest) != 1 or manifest.n_missing or int(manifest.lengths[0]) > inline:
        return array
    return replace(array, content=file.read(int(manifest.offsets[0]), int(manifest.lengths[0]), array.path))


def _depth(path: str) -> tuple[int, str]:
    """Sort key: parents first, then by name."""
    return len(split_path(path)), path


class ReferencesOutput:
    """Where to write references when a file is closed.

    Parameters
    ----------
    path
        Path or URL for `FileReferences.to_kerchunk`.
    overwrite
        Replace existing references.
    storage_options
        For a URL.

    Raises
    ------
    SpecError, SinkError, MissingCodecError
        See `check_references_path`.
    """

    def __init__(
        self, path: LocalPath, *, overwrite: bool, storage_options: Mapping[str, Any] | None = None
    ) -> None:
        check_references_path(path, overwrite=overwrite, storage_options=storage_options)
        self._path: LocalPath | None = path
        self._overwrite = overwrite
        self._storage_options = storage_options

    def check(self, spec: DatasetSpec) -> None:
        """Refuse a dataset that references cannot express, before any data is written.

        Raises
        ------
        ReferencesError
            See `check_elements`.
        """
        if self._path is not None and spec.virtual is not None:
            raise ReferencesError(
                f"{spec.path} is a virtual dataset, which has no chunks to refer to; leave references out",
                path=spec.path,
            )
        if self._path is not None:
            check_expressible(spec.dtype, spec.filters, path=spec.path)

    def write(self, references: Callable[[], FileReferences]) -> None:
        """Write the references of the finished file, the first time that this is called.

        Parameters
        ----------
        references
            Makes the references.

        Raises
        ------
        ReferencesError
            Chunks have skipped a filter, which is not known earlier.
        SinkError
            The file system refuses them.
        """
        path, self._path = self._path, None
        if path is not None:
            try:
                references().to_kerchunk(
                    path, overwrite=self._overwrite, storage_options=self._storage_options
                )
            except StreamH5Error as error:
                error.add_note("the file itself is complete")
                raise
