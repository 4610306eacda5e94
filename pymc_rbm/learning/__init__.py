"""These modules make up `fit`: data, objective, estimators, update, loop and result."""
