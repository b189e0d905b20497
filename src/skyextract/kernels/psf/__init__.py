"""Kernels of the PSF: spline, stars, model, fit."""
