"""Real data that are installed with the package, for the notebooks."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def north_atlantic() -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Return the climatology of the sea surface temperature of the North Atlantic, from NOAA's COADS.

    Returns
    -------
    ndarray, ``(12, 35, 50)`` float32
        Temperature in degrees Celsius by month, latitude and longitude; NaN on land.
    ndarray, ``(35,)`` float64
        Latitude in degrees north.
    ndarray, ``(50,)`` float64
        Longitude in degrees east.
    """
    with (files(__name__) / "north_atlantic.npz").open("rb") as file, np.load(file) as arrays:
        return arrays["sst"], arrays["latitude"], arrays["longitude"]
