"""BlockGibbs, and whatever else in a model depends on units."""
