"""A small real shop to try respool with: ``respool demo``."""
