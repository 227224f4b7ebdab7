"""Graph mathematics: influence, pruning, groups and layout; numpy and networkx."""
