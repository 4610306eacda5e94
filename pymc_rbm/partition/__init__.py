"""Find log Z as a number with an error: exactly, by annealing, by tempering, or by both compared."""
