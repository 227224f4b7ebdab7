"""What is known of a feature: examples, histograms, labels with scores; numpy and SQLite only."""
