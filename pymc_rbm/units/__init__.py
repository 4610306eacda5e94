"""A unit has values, a log-normaliser, a mean and a sampler, and data are checked against it."""
