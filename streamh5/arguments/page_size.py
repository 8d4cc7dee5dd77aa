"""The `page` keyword: pages of a file, for readers with a page buffer."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from streamh5.arguments.memory_size import read_memory_size
from streamh5.errors import SpecError, shown
from streamh5.format.page_rule import MAX_PAGE_NBYTES, MIN_PAGE_NBYTES

PageSize: TypeAlias = bool | int | str
"""Size of the pages of a file: a number of bytes, text such as ``"8 MiB"``, or True for pages that fit the file."""

_STEP_NBYTES = 4096


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
    is_allowed = nbytes in (512, 1024, 2048) or (nbytes is not None and nbytes % _STEP_NBYTES == 0)
    if nbytes is None or not MIN_PAGE_NBYTES <= nbytes <= MAX_PAGE_NBYTES or not is_allowed:
        raise SpecError(
            f"{name} must be True, or a size of 512, 1,024, 2,048 or a multiple of 4,096 bytes up to 1 GiB, such as "
            f"'8 MiB', not {shown(value)}",
            **{name: value},
        )
    return nbytes
