"""What the frameworks share: a request's scopes, its client, the server's life, overload."""
