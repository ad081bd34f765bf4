"""What users make, and what they run on it: the databases, their blocks, jobs, retries and helpers."""
