"""One request or block: what is in force here, and who may use it; it knows no SQLAlchemy, engine or pool."""
