"""Models of galaxies: Sersic profiles convolved with the PSF, fitted to all sources."""
