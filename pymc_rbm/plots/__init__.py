"""Figures of machines, of learning and of draws."""
