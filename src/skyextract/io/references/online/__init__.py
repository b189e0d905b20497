"""Reference catalogues from the network, and the local store that keeps them."""
