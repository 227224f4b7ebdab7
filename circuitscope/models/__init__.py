"""Transformers: load a local folder, describe it, run it, capture and intervene."""
