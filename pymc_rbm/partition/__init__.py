"""log Z in numbers, with an error: exact, annealing, tempering, both compared."""
