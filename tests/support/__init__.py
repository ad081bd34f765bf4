"""What the tests and the benchmarks share: a real PostgreSQL, a real MariaDB."""
