"""The version of streamh5: here, so that what writes it into files need not import the whole package."""

from __future__ import annotations

__version__ = "0.1.0"
