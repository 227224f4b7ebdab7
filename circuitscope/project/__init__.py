"""Project files: evidence, drawings and their history in one SQLite file; opens without torch."""
