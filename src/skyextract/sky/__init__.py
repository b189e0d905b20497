"""Geometry of the sky and passbands: numbers in, numbers out, no files."""
