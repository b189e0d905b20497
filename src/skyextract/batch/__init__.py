"""Many images: their workers, what is done already, how far it is, frames as they arrive."""
