"""Seeded canaries that were never served, and what Serin and its peers decide on them. `benchmarks/decisions.py` runs it."""
