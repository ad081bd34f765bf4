"""What is asked of each kind of server, and of a proxy before it."""
