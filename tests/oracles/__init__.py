"""Other ways to the same numbers, written from the equations: no arithmetic of the package is imported."""
