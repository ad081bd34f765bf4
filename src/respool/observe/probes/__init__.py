"""Whether this process is alive and can serve: told at once, from what its pools know, to whoever asks from outside."""
