"""Plain data and small tools that every other package may use; numpy and psygnal only."""
