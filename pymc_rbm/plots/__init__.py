"""Draw figures of machines, of learning and of draws."""
