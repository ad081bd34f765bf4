"""Requests: the middleware that opens a scope for each and ends it before the answer leaves."""
