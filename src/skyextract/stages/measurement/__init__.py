"""Isophotal, aperture, Kron and windowed measurements of the sources."""
