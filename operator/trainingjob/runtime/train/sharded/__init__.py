"""Training of models whose weights, gradients and optimizer are divided over the ranks."""
