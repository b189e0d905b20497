"""Patterns upon the sky, measured and subtracted: fringes, waves, banding, trails of satellites."""
