"""Instrument signature removal: from raw amplifiers to image, variance and mask."""
