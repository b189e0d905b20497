"""Images, weight maps, check images and exposure files."""
