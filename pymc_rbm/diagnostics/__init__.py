"""Mixed, not mixed, or cannot tell."""
