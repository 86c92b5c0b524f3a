"""What is measured of a model on one example, before any metric. Not here: the measuring, and the metrics."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """The tokens of a prompt and of the answer to it."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Likelihood:
    """How likely a model finds the answer of one example: minus the log-likelihood of its tokens, in nats."""

    negative_log_likelihood: float
    tokens: int
    correct: int
    """Tokens that the model itself would have chosen, given the ones before."""


@dataclass(frozen=True)
class Generation:
    """What a model answers to the prompt of one example."""

    text: str
    tokens: int
    finish: str
    """`stop`: it ended by itself or at a stop string. `length`: it was cut at the most tokens allowed."""


@dataclass(frozen=True)
class Choice:
    """How likely a model finds each of the answers that it may choose from, in nats."""

    log_likelihoods: tuple[float, ...]

    def __post_init__(self) -> None:
        """Kept as JSON it comes back as a list."""
        object.__setattr__(self, "log_likelihoods", tuple(self.log_likelihoods))
