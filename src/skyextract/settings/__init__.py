"""Keywords and their values: text only, no numpy, no astropy."""
