"""From a target back to its sources: the methods and what they share."""
