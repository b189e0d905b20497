"""Kernels of measurement."""
