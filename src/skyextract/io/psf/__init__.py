"""PSF models in PSFEx files and in exposure files."""
