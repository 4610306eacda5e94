"""Diagnostics of learning: whether it has finished."""
