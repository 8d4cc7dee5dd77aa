"""Benchmarks against the other ways to write a dask array; run with ``python -m tests.benchmarks``."""
