"""Ports for programs that listen a moment after their port was chosen.

Below those from which the kernel takes one for each outgoing connection: such a connection may be made in between, and keeps
the port for as long as it lives, and a while longer. Programs that can choose for themselves are given port 0 instead.
"""

import random
import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"
FIRST, LAST = 11_000, 19_999  # above are those of the fault tests' operators


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, all different. Other processes of tests choose as well, so at random."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(FIRST, LAST + 1), LAST + 1 - FIRST):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} ports from {FIRST} to {LAST} are free")


def free_port() -> int:
    return free_ports(1)[0]
