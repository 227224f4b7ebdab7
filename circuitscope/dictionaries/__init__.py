"""Read, run and train sparse dictionaries."""
