"""The command line: ``respool demo``, ``respool explain``."""
