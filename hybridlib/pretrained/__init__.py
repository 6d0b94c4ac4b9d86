"""Public weights in our models: one file for each family, with a function from public names to ours."""
