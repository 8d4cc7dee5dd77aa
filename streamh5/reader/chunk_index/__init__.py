"""Chunk indexes from bytes, one module each."""
