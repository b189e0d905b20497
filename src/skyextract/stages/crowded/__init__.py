"""Crowded fields: the search beneath detected sources, and the rows of what it finds."""
