"""The project file: one SQLite file that opens without torch or a model."""
