"""Pixels that are no data, or not what the file says: found in the image itself."""
