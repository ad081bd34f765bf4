"""What SQLAlchemy has found out once, kept for the next time: reads by plans, sessions by templates."""
