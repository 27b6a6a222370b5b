"""Readers of grid files, one format per module."""
