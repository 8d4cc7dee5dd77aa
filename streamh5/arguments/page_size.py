"""The `page` keyword: pages of a file, for readers with a page buffer."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from streamh5.arguments.memory_size import read_memory_size
from streamh5.errors import SpecError, shown

PageSize: TypeAlias = bool | int | str
"""Size of the pages of a file: a number of bytes, text such as ``"8 MiB"``, or True for pages that fit the file."""

_STEP_NBYTES = 4096
_SMALL = (512, 1024, 2048)
_MOST_NBYTES = 1 << 30  # H5F_FILE_SPACE_PAGE_SIZE_MAX


def read_page(name: str, value: Any) -> bool | int:
    """Return the size of pages in bytes; True if the file decides, False for no pages.

    Raises
    ------
    SpecError
        It is not a size of pages that the library reads.
    """
    if value is None or isinstance(value, (bool, np.bool_)):
        return bool(value)
    nbytes = read_memory_size(value, name)
    # nodes of B-trees have 512 and 2,048 bytes, and must not cross the end of a page
    if nbytes is None or nbytes > _MOST_NBYTES or (nbytes % _STEP_NBYTES and nbytes not in _SMALL):
        raise SpecError(
            f"{name} must be True, or a size of 512, 1,024, 2,048 or a multiple of 4,096 bytes up to 1 GiB, such as "
            f"'8 MiB', not {shown(value)}",
            **{name: value},
        )
    return nbytes
