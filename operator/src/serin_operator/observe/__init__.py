"""Reads of the world: the cluster, the route, Prometheus, training metrics. Nothing is written here."""
