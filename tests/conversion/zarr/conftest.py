"""Nothing of zarr is tested where it is not installed."""

from __future__ import annotations

import pytest

pytest.importorskip("zarr")
pytest.importorskip("hdf5plugin")
