"""Writes to the world: status first, then objects, then events. Nothing is decided here."""
