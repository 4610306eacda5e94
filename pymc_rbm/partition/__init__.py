"""log Z as a number with an error: exact, by annealing, by tempering, or by both compared."""
