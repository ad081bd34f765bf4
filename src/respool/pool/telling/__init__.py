"""What the pool tells: observers, figures, snapshots."""
