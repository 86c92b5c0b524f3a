"""How a row's next token is chosen: the likeliest one, or one at random by temperature and nucleus.

Not here: the computing of logits (`batch.py`).
"""

import torch

_COLD = 1e-5
"""A temperature below this is greedy: dividing by it would overflow."""


class Sampler:
    """The choice of one request's tokens; with a seed the same request gets the same answer."""

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        self.greedy = temperature < _COLD
        self._temperature = temperature
        self._top_p = top_p
        self._random = torch.Generator()
        if seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(seed)

    def choose(self, logits: torch.Tensor) -> int:
        """A token drawn from the smallest set of tokens that holds `top_p` of the probability."""
        probabilities = (logits.float() / self._temperature).softmax(-1)
        if self._top_p < 1:
            ordered, tokens = probabilities.sort(descending=True)
            outside = ordered.cumsum(-1) - ordered >= self._top_p
            probabilities = probabilities.clone()
            probabilities[tokens[outside]] = 0
        return int(torch.multinomial(probabilities, 1, generator=self._random))
