"""Models of galaxies fitted to the sources."""
