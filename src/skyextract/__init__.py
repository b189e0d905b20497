"""skyextract: from a FITS image to a calibrated catalogue."""

__version__ = "0.1.0"
