"""Serin's trainer image: prepares data, trains, and writes the consolidated model, one stage a pod."""
