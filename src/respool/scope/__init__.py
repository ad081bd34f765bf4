"""One request or block: what is in force here, and who may use it. It knows no SQLAlchemy, engine or pool."""
