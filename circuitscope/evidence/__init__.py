"""What is known of a feature: examples, histograms and labels; read without torch."""
