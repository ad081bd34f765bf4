"""Blocks that commit together."""
