"""Bricks that more than one paper uses. Nothing here imports another room of hybridlib."""
