"""What a statement's text does, told without executing it: tokens, what they name and call, and what each database says."""
