"""Use cases: what the window, the command line and notebooks share; no Qt."""
