"""The part of ``File`` that keeps the handles of its datasets; what the other modules call, not users."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from streamh5.errors import SpecError
from streamh5.format.object_header import NO_FIELDS
from streamh5.handles.dataset import Dataset
from streamh5.handles.group import Group
from streamh5.handles.stored_dataset import stored_dataset
from streamh5.model.block_value import as_elements
from streamh5.model.tree import find

if TYPE_CHECKING:
    import threading

    from streamh5.filters import FilterChain
    from streamh5.format.object_header import OptionalFields
    from streamh5.handles.file import File
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.tree import DatasetNode
    from streamh5.references.file_references import ReferencesOutput


class FileDatasets(Group):
    """The part of `File` that makes datasets from their plans, and finds their handles."""

    datasets: dict[str, Dataset]
    _references: ReferencesOutput | None
    _references_lock: threading.RLock

    @property
    @abstractmethod
    def file(self) -> File:
        """The file itself."""

    @property
    def libver(self) -> str:
        """Oldest HDF5 library that can read the file; with mode ``"a"`` that of the existing file."""
        return self.session.options.libver

    @property
    def filename(self) -> str:
        """The destination."""
        return self.session.sink.name

    def add_dataset(
        self,
        spec: DatasetSpec,
        chain: FilterChain,
        *,
        source: str | None = None,
        write_empty_chunks: bool = True,
        optional: OptionalFields = NO_FIELDS,
        value: Any = None,
    ) -> Dataset:
        """Create a dataset from its plan; `source` is the identity of the source that it is written from.

        `optional` are the optional fields of its header, `value` its data.

        Raises
        ------
        SpecError
            It was planned for another `libver` than that of the file.
        """
        if (spec.libver == "v108") != (self.libver == "v108"):
            raise SpecError(
                f"{spec.path} is planned with libver={spec.libver!r}, and {self.filename} is a file for "
                f"{self.libver!r}: pass libver={self.libver!r}",
                libver=spec.libver,
            )
        if self._references is not None:
            self._references.check(spec)
        if spec.is_early and not getattr(self.session.sink, "overwrites_in_place", True):
            raise SpecError(
                f"{spec.path}: chunks with fixed addresses (alloc_time='early') are overwritten in place, which an "
                f"object store does not do: leave alloc_time out, or write {self.filename:.100} as a local file",
                path=spec.path,
            )
        whole = as_elements(value, spec) if value is not None and spec.chunks is None else None
        with self.session.call():
            node, n_rows = self.session.create_dataset(spec, source, whole)
            is_restored = n_rows > 0
            if whole is not None and whole.ndim:
                n_rows, is_restored = len(whole), False  # where `append` continues
            node.optional = optional
            dataset = Dataset(
                self.session,
                node,
                chain,
                n_rows=n_rows,
                is_restored=is_restored,
                write_empty_chunks=write_empty_chunks,
            )
            self.datasets[spec.path] = dataset
            self.session.file = self.file
            if value is not None and whole is None:
                try:
                    dataset[...] = value
                except BaseException:
                    self.discard_dataset(dataset)
                    raise
            return dataset

    def dataset(self, node: DatasetNode) -> Dataset:
        """Return the handle of a dataset; that of an existing file is made when it is first needed."""
        self.session.file = self.file
        with self._references_lock:
            found = self.datasets.get(node.path)
            if found is None or found.node is not node:
                found = self.datasets[node.path] = stored_dataset(self.session, node)
            return found

    def forget_handles(self) -> None:
        """Enter the datasets under their present paths, without those that were deleted."""
        with self._references_lock:
            handles = list(self.datasets.values())
            alive = [one for one in handles if find(self.session.root, one.name) is one.node]
            self.datasets = {one.name: one for one in alive}
            for one in handles:
                if one not in alive:
                    self.session.forget(one.node)
                    self.session.partial_chunks.drop(one.out)

    def discard_dataset(self, dataset: Dataset) -> None:
        """Remove a dataset whose data could not be written: the file is written without it."""
        self.datasets.pop(dataset.name, None)
        self.session.discard_dataset(dataset.node)
        self.session.partial_chunks.drop(dataset.out)
