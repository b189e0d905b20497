"""Simulated data and its truth, for tests and benchmarks."""
