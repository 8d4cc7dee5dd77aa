"""``SeenFile``: a source file as one process sees it, so that another process can tell whether it sees the same one."""

from __future__ import annotations

import os
from dataclasses import dataclass

from streamh5.errors import SourceError
from streamh5.sinks.machine import host_name

ADVICE = "tasks read a source by its path: let all workers see it there, or pass scheduler='threads'"


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file that tasks in other processes, maybe on other machines, open by its path.

    Parameters
    ----------
    path
        Absolute path.
    nbytes, mtime_ns
        Size and time of the last change: of another file of the same name, or a copy that is older, they differ.
    """

    path: str
    nbytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> SeenFile:
        """Return a file as this process sees it.

        Raises
        ------
        OSError
            It does not see it.
        """
        path = os.path.abspath(path)
        # opened because on a network file system only the open, not the stat, asks the server for the present state
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
        return cls(path, status.st_size, status.st_mtime_ns)

    def check(self) -> None:
        """Refuse another file than that of the process that planned the conversion.

        Raises
        ------
        SourceError
            This process does not see the file, or sees another; the message names its machine.
        """
        host = host_name()
        try:
            found = SeenFile.of(self.path)
        except OSError as error:
            raise SourceError(
                f"{self.path} cannot be opened on {host}: {error.strerror}; {ADVICE}",
                source=self.path,
                host=host,
            ) from error
        if found != self:
            raise SourceError(
                f"{self.path} is another file on {host}: {found.nbytes:,} bytes, changed at {found.mtime_ns} ns, not "
                f"{self.nbytes:,}, {self.mtime_ns}; {ADVICE}",
                source=self.path,
                host=host,
            )
