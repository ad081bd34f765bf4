"""What is known of each database and driver, and of no other."""
