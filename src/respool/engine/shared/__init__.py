"""One connection for everybody, in a transaction that is never committed: what commits on it releases a savepoint."""
