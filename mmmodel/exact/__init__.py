"""Exact answers: verdicts, chains, closed networks, loss systems."""
