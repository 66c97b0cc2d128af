"""Pictures, and the numbers that they show."""
