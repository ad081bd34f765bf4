"""The pool under every driver: one set of cases, run on real databases."""
