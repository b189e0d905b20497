"""Simulated frames and fields that only benchmarks use; those of the tests: tests/simulate."""
