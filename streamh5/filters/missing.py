"""What a message says of filters that neither streamh5 nor the HDF5 library has here, and what helps."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from streamh5.errors import listed
from streamh5.filters.registry import filter_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamh5.format.filter_pipeline import FilterRecord

_IN_HDF5PLUGIN = frozenset((307, 32001, 32004, 32008, 32013, 32015, 32017, 32018, 32024, 32026, 32028, 32033))
"""Numbers of the filters that hdf5plugin 7.1 brings (``hdf5plugin.FILTERS``)."""


def named_filters(records: Sequence[FilterRecord]) -> str:
    """Return filters for a message, with name and registered number."""
    return f"filter {listed(map(filter_name, records))}"


def missing_filters(records: Sequence[FilterRecord]) -> str:
    """Return a sentence about filters that are missing: which, and what helps; empty for none."""
    if not records:
        return ""
    advice = (
        "install a plugin of that number for the HDF5 library (HDF5_PLUGIN_PATH), or teach streamh5 the filter "
        "(docs/filters.md, Add a filter)"
    )
    if "hdf5plugin" not in sys.modules and all(one.filter_id in _IN_HDF5PLUGIN for one in records):
        advice = "import hdf5plugin" if find_spec("hdf5plugin") else "pip install hdf5plugin"
    return f"no decoder here for {named_filters(records)}: {advice}"
