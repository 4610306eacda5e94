"""BlockGibbs, the step method for units, and how it accounts for what depends on them."""
