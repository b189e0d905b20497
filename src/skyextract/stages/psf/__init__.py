"""The PSF model: built of stars, doubted, given from outside."""
