"""Kernels of astrometry."""
