"""FITS files: opening, pixels, tables, headers, writing."""
