"""Requests are repeated while the store is busy, unreachable or slow, with pauses that grow."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from streamh5.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a request is repeated, and after which pauses.

    Parameters
    ----------
    n_attempts
        All of them, the first included.
    first_seconds, max_seconds
        The first pause, and the longest: each is twice the one before, less a random part of up to a half, so that
        many workers do not come back together.
    """

    n_attempts: int = 9
    first_seconds: float = 0.2
    max_seconds: float = 20.0

    def run(
        self,
        request: Callable[[], T],
        *,
        after_failure: Callable[[], T | None] = lambda: None,
        wait: Callable[[float], object] = time.sleep,
    ) -> T:
        """Make a request until it succeeds; only failures that pass by themselves are repeated.

        Parameters
        ----------
        request
            The request.
        after_failure
            Called after a failure of which nobody knows whether the request had its effect; returns its result if it
            had, None to repeat it.
        wait
            Waits for some seconds.

        Raises
        ------
        StoreError
            The last failure.
        """
        pause = self.first_seconds
        for _ in range(self.n_attempts - 1):
            try:
                return request()
            except StoreError as error:
                if error.reason != "transient":
                    raise
            wait(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, self.max_seconds)
            with suppress(StoreError):  # it cannot be known now: repeat the request
                found = after_failure()
                if found is not None:
                    return found
        return request()


ATTEMPTS = Attempts()
"""About a minute in all: longer than a store takes to divide a busy prefix, or a name server to come back."""
