"""Pure decisions: a snapshot of the world in, what to write and do out. No clock, no network, no kopf."""
