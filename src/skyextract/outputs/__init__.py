"""What a run writes: the products of an image, their planes, the report."""
