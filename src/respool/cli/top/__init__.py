"""``respool top``: what running processes tell, in a terminal or as text."""
