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
    greedy: tuple[bool, ...] = ()
    """Whether it would have given each of them by itself; empty where nobody asked."""

    def __post_init__(self) -> None:
        """Kept as JSON it comes back as a list."""
        object.__setattr__(self, "log_likelihoods", tuple(self.log_likelihoods))
        object.__setattr__(self, "greedy", tuple(self.greedy))


@dataclass(frozen=True)
class Speed:
    """What one answer, alone on the machine, takes: seconds until its first token and from there on, and memory."""

    first_seconds: float
    more_seconds: float
    tokens: int
    peak_bytes: int


@dataclass(frozen=True)
class Flag:
    """How likely a classifier finds its label for one answer."""

    probability: float


@dataclass(frozen=True)
class Opinion:
    """What a judge said of one pair, asked twice: with the candidate's answer first, and with it second.

    Each is A (the first), B, Tie, Unreadable, or Refused where its server would not take the question.
    """

    candidate_first: str
    candidate_second: str
