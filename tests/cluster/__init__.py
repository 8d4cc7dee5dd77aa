"""Faults of clusters: workers, nannies, schedulers, clients and links that die, stop or come back during a write."""
