"""respool and its peers, measured side by side: ``python -m benchmarks``. See README.md in this folder."""
