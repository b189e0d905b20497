"""PSF stars, the PSF model, PSF photometry and aperture corrections."""
