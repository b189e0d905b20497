"""Kernels of the background mesh."""
