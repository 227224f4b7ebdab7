"""The drawings: link graph and circuit view."""
