"""What the values are, and the checks of arguments they depend on: `docs/values.md` in code. Nothing here writes to an array."""
