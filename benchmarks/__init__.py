"""Our models against public ones: the same weights and images, the time and memory of each.

Not a part of the package: `python -m benchmarks models` runs in a clone of the repository.
"""
