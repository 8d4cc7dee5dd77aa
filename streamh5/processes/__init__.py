"""Signals of the process, and child processes for what may crash."""
