"""Another engine in a database's place, for the length of a block."""
