"""The warm server: a process with everything loaded that forks one child for each call."""
