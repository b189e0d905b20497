"""Time and memory beside the programs that do the same."""
