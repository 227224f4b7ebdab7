"""One file per family of architectures; each is mostly a table."""
