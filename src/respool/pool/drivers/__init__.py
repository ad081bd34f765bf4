"""The lock, the clock, and who blocks or awaits: what carries the core's decisions out."""
