"""Errors for people: what is wrong, with numbers, and what to do next."""


class DevclusterError(Exception):
    """The command cannot go on; the message is shown as it is, without a traceback."""
