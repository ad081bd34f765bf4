"""How the scopes of a request end: decide, flush, commit or roll back, give back; the rules once, two drivers."""
