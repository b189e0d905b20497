"""Numbers against truth: simulated frames, other catalogues, other programs."""
