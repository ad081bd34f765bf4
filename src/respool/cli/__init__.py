"""The command line: ``respool top``, ``respool demo``, ``respool explain``."""
