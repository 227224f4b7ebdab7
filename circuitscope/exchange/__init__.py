"""Circuits and drawings out and in: figures and graph files, without Qt."""
