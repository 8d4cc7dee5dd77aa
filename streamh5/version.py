"""The version of streamh5, in a module of its own: code that writes it into files need not import the package."""

from __future__ import annotations

__version__ = "0.1.0"
