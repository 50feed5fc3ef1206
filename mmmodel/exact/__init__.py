"""Exact numbers."""
