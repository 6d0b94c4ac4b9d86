"""Hybrids of convolution and attention in vision."""
