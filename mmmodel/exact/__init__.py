"""Exact numbers: verdicts, chains, networks, loss systems."""
