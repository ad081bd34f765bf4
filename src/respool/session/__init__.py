"""Sessions: the scope they are bound to, the rules they keep, and the databases that make them."""
