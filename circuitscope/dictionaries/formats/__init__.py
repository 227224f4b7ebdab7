"""One file per dictionary format."""
