"""SQLAlchemy's session: what is different in ours, and what is added."""
