"""Which sources are stars for the PSF: candidates, their ridge of one size, trailed ones."""
