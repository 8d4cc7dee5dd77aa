"""The part of ``Dataset`` that lets other processes write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.paths import local_path
from streamh5.errors import BlockError, SpecError, shown
from streamh5.handles.appendable_dataset import AppendableDataset
from streamh5.handles.resizable_dataset import writing
from streamh5.processes.cpus import available_cpus
from streamh5.write.part_records import PartRecords

if TYPE_CHECKING:
    from streamh5.arguments.paths import LocalPath
    from streamh5.handles.part_writer import PartWriter


class DatasetParts(AppendableDataset):
    """A dataset whose blocks other processes may write, too."""

    @check_keywords
    @writing
    def part_writer(self, *, n_processes: int | None = None, path: LocalPath | None = None) -> PartWriter:
        """Return a handle that can be pickled, with which other processes write blocks of this dataset.

        For processes of `multiprocessing`, ranks of MPI, or one process for each detector module; dask's workers use
        the same handle when `to_fixed_h5` runs on a cluster. The processes take address ranges for themselves, so
        that nobody waits for anybody. Until the file is closed, this process may write, too, but `resize` only lets
        the leading dimension grow.

        Parameters
        ----------
        n_processes
            Number of processes that will write at the same time, by default the number of cores. It only decides the
            size of the ranges; the first call counts.
        path
            The destination as the other processes see it, if they see it under another name.

        Returns
        -------
        PartWriter
            The records that its methods return count once they are passed to `record_part`: see the example of
            `PartWriter`.

        Raises
        ------
        SinkError
            The file is not written to a path, or its file system has no symbolic links.
        SpecError
            The chunks have fixed addresses (``alloc_time="early"``), the dataset has no chunks, or `n_processes` is
            not a positive integer.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (100, 10), chunks=(10, 10))
        ...     part = x.part_writer(n_processes=4)
        ...     x.record_part(part.write(np.ones((10, 10)), (0, 0)))
        """
        if self.chunks is None or self._node.spec.is_early:
            what = "has no chunks" if self.chunks is None else "has chunks that are overwritten in place"
            raise SpecError(f"{self.name} {what}: other processes cannot write it; write it in this process")
        shared = self.session.sharing.begin(n_writers=n_processes or available_cpus())
        if path is not None:
            shared = shared.seen_as(local_path(path))
        return self.out.part_writer(shared, is_flushing=True)

    @writing
    def record_part(self, part: PartRecords) -> None:
        """Enter the chunks that another process has written with a `part_writer` of this dataset.

        Parameters
        ----------
        part
            What its method returned. A chunk that was written twice has the content of the records that were
            entered last.

        Raises
        ------
        BlockError
            They are not records of this dataset and of this write, or of rows beyond its maximum length.
        StateError
            The file is closed.

        See Also
        --------
        part_writer : With an example.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (100, 10), chunks=(10, 10))
        ...     x.record_part(x.part_writer().write(np.ones((20, 10)), (50, 0)))
        """
        token = self.session.sharing.token
        if not isinstance(part, PartRecords) or (part.token, part.path) != (token, self.name):
            raise BlockError(
                f"{self.name}: record_part needs what a part_writer of this dataset and of this write has returned, "
                f"not {shown(part)}"
            )
        if self._is_appended:
            raise BlockError(f"{self.name}: it is appended to; use either append or part_writer")
        self.out.check_length(part.stop)
        self.out.take_part(part)
