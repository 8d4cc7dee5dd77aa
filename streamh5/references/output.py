"""References that are written when a file is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.errors import StreamH5Error
from streamh5.references.file_references import check_destination
from streamh5.references.zarr_array import check_elements

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.arguments.paths import LocalPath
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.references.file_references import FileReferences

__all__ = ["ReferencesOutput"]


class ReferencesOutput:
    """Where to write the references of a file that is being written, if anywhere.

    Parameters
    ----------
    path
        As for `FileReferences.to_kerchunk`; None for no references.
    overwrite
        Replace references of that name.

    Raises
    ------
    SpecError, SinkError, MissingCodecError
        See `check_destination`.
    """

    def __init__(self, path: LocalPath | None, *, overwrite: bool) -> None:
        if path is not None:
            check_destination(path, overwrite=overwrite)
        self._path = path

    def check(self, spec: DatasetSpec) -> None:
        """Refuse a dataset that references cannot express, before there is any data.

        Raises
        ------
        ReferencesError
            See `check_elements`.
        """
        if self._path is not None:
            check_elements(spec.dtype, spec.filters, path=spec.path)

    def write(self, references: Callable[[], FileReferences]) -> None:
        """Write the references of the finished file, the first time that this is called.

        Parameters
        ----------
        references
            Makes them.

        Raises
        ------
        ReferencesError
            What could not be known before: chunks that have skipped a filter.
        SinkError
            They cannot be written.
        """
        path, self._path = self._path, None
        if path is not None:
            try:
                references().to_kerchunk(path, overwrite=True)
            except StreamH5Error as error:
                error.add_note("the file itself is complete")
                raise
