"""Sizes of fast transforms."""

from __future__ import annotations

from skyextract.datamodel.fourier import fast_size


def test_fast_sizes_are_the_next_ones_of_small_primes():
    small = {
        2**a * 3**b * 5**c * 7**d
        for a in range(12)
        for b in range(7)
        for c in range(5)
        for d in range(4)
    }
    for n in (*range(1, 400), 2083, 4099):
        assert fast_size(n) == min(m for m in small if m >= n and m % 2 == 0)
