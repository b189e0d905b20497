"""Sizes of images whose Fourier transforms are fast."""

from __future__ import annotations


def fast_size(n: int) -> int:
    """Return the next even number from n on that has no prime factor above 7."""
    n += n % 2
    while True:
        left = n
        for prime in (2, 3, 5, 7):
            while left % prime == 0:
                left //= prime
        if left == 1:
            return n
        n += 2
