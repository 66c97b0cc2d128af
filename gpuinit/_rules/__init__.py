"""Which initializer is for which parameter of a model."""
