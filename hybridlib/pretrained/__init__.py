"""Public weights for our models."""
