"""Plans: what SQLAlchemy has found out of a read, kept for the next one, which goes from the driver's rows to objects at once."""
