"""The canonical network in plain arrays: read, written, simulated in NumPy, compared."""
