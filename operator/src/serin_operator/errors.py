"""Errors by whose turn it is: the user's become conditions, the cluster's are retried, bugs are logged."""


class SerinError(Exception):
    """Base of all errors that Serin raises on purpose."""


class ClusterUnavailable(SerinError):
    """The apiserver did not answer, or asked us to wait: look again with backoff. `soon`: the call may be repeated.
    `perhaps`: what was asked for may have happened all the same."""

    def __init__(
        self, message: str, retry_after: float | None = None, *, soon: bool = True, perhaps: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.soon = soon
        self.perhaps = perhaps


class Conflict(SerinError):
    """Somebody else wrote in between: what was decided is stale, look again."""


class Refused(SerinError):
    """The apiserver understood the call and said no (403, 422, ...); `said` is its own sentence."""

    def __init__(self, message: str, code: int = 0, said: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.said = said or message


class NotLeading(SerinError):
    """The lease is no longer certain to be ours: nothing may be written."""
