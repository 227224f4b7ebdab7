"""Figures to PDF and PNG with QtGui only."""
