"""The command line: ``respool top``, ``respool demo``, ``respool doctor``, ``respool new``, ``respool explain``."""
