"""Whether learning has finished."""
