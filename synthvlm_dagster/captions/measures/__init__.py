"""Statistics of captions that a model measures, and the store that keeps them."""
