"""Behaviour written once, and run against the pool for threads and the pool for asyncio: see ``driver.py``."""
