"""Kernels of the repair of cosmic rays and bad pixels."""
