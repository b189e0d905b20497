"""Sky level and noise from the background mesh, and the planes of both."""
