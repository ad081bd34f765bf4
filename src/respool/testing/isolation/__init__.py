"""Nothing of a test is seen in the next one: rolled back, or in a database of its own."""
