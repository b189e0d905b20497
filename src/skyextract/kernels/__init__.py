"""Numba kernels: plain functions on C-contiguous arrays, no objects, no files.

They import numpy, math and numba only.  Arrays are indexed [y, x] and 0-based.
"""
