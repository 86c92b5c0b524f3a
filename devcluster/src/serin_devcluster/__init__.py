"""Boots the project's own single-node Kubernetes on a Linux machine. Standard library only: it runs before uv exists."""
