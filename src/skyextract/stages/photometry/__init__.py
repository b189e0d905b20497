"""From measured fluxes and a reference catalogue to a verified zero point."""
