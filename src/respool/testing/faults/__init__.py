"""Faults on demand: a COMMIT that fails, a pool that is full, a database that is away, a client that hangs up."""
