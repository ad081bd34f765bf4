"""A connection in SQLAlchemy's hands: its pools, checkouts, records and leases."""
