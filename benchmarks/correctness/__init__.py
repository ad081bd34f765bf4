"""What each peer does when it is misused, or when something fails: ``python -m benchmarks.correctness``."""
