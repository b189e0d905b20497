"""PSF photometry: all sources fitted as point sources, and aperture corrections."""
