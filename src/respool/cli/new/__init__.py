"""A new application to begin with, made from templates: ``respool new``."""
