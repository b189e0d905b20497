"""Comparisons with other programs, for tests and benchmarks."""
