"""``respool doctor URL``: asks a database for its limits and times, and judges a configuration against them."""
