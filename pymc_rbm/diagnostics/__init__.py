"""Diagnostics of chains and of learning: mixed or not, finished or not, or cannot tell."""
