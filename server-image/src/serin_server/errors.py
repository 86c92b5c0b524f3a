"""Why the server does not start (exit codes of the contract), and why a request gets no answer (OpenAI's error body).

Not here: who tells it (`__main__.py`, `app.py`).
"""

from typing import Any


class StartError(Exception):
    """The server must not start. `message` says what is wrong, `advice` what to change."""

    exit_code = 1

    def __init__(self, reason: str, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.advice = advice


class ConfigError(StartError):
    """The user's turn: the configuration is wrong."""

    exit_code = 64


class ModelError(StartError):
    """The user's turn: the model is missing, or not the one that was asked for."""

    exit_code = 65


class RequestError(Exception):
    """One request cannot be answered."""

    status = 400
    type = "invalid_request_error"

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.headers: dict[str, str] = {}

    def body(self) -> dict[str, Any]:
        """The error as OpenAI's clients expect it."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class NotFound(RequestError):
    """There is no such model or path."""

    status = 404


class MethodNotAllowed(RequestError):
    """The path exists, but not for this method."""

    status = 405


class Conflict(RequestError):
    """It contradicts what was said before."""

    status = 409

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message, param, "contradiction")


class TooLarge(RequestError):
    """The body is larger than any prompt that fits."""

    status = 413


class Busy(RequestError):
    """The queue is full; the client may come again after `seconds`."""

    status = 429
    type = "rate_limit_error"

    def __init__(self, seconds: int) -> None:
        super().__init__(f"All places in the queue are taken; try again in {seconds} s.", code="queue_full")
        self.headers = {"retry-after": str(seconds)}


class Broken(RequestError):
    """The server could not compute the answer."""

    status = 500
    type = "server_error"
