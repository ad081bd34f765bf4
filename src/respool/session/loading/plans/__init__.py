"""What a plan is, how it is learned, and how that of a read is found."""
