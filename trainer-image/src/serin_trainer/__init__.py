"""Serin's trainer image: prepares data, trains, and writes the consolidated model, one stage a pod."""

__version__ = "0.1.0"
