"""Faults on purpose, each with the promise that it proves. See docs/reliability.md."""
