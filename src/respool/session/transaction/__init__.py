"""What a session's transaction holds, and who is told of it."""
