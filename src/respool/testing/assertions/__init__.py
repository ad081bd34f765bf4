"""What a test may ask of a database: what was committed, executed, held, and given back."""
