"""From detected sources and a reference catalogue to a verified WCS."""
