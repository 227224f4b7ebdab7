"""Hold the generators, rules and training code of the bundled examples."""
