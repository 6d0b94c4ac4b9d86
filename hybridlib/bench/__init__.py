"""Our models against public ones: the same weights and images, the time and memory of each."""
