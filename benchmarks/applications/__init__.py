"""Whole applications beside each other: ``python -m benchmarks.applications``."""
