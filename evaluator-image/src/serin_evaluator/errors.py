"""Why an evaluation ends early, and whose turn it then is (the exit codes of the contract).

Not here: how a failure is reported (`result.py`).
"""


class StageError(Exception):
    """Ends the stage. `message` says what is wrong, with numbers; `advice` says what to change."""

    exit_code = 1

    def __init__(self, reason: str, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.advice = advice


class ConfigError(StageError):
    """The user's turn: the configuration is wrong."""

    exit_code = 64


class DataError(StageError):
    """The user's turn: the data or the model is wrong or missing."""

    exit_code = 65


class TryAgain(StageError):
    """The cluster's turn: another attempt may succeed."""

    exit_code = 75
