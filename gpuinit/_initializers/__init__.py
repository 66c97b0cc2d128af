"""The initializers: each checks its arguments, and comes to one operation on one array."""
