"""streamh5: arrays larger than memory into one ordinary HDF5 file."""

from __future__ import annotations

__version__ = "0.1.0"

from streamh5.file import File, Group

__all__ = ["File", "Group", "__version__"]
