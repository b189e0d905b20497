"""Kernels of isr."""
