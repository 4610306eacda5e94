"""Learning by fit: data, objective, estimators, update, loop, result."""
