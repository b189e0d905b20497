"""Tests: mirror src, plus e2e; simulate and compare are shared with the benchmarks."""
