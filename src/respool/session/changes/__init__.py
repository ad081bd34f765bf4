"""What was changed and nobody has committed: objects, statements, and how their loss is reported."""
