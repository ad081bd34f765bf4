"""Statements that need no transaction: which they are, what they run on, how their rows are read."""
