"""From tokens, one at a time, to text that can be sent: whole characters only, and nothing of a stop string.

Pure. Not here: how tokens are chosen.
"""

from collections.abc import Callable, Sequence

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """The text of one answer while it grows."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = tuple(stop)
        self._tokens: list[int] = []
        self._context = 0
        """Tokens from here on are decoded again with each new one, since a token's text depends on its neighbours."""
        self._told = 0
        """Tokens before this one have their text in `_held` or sent."""
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that this token makes safe to send; `stopped` is set when a stop string is complete."""
        self._tokens.append(token)
        self._held += self._new_text(at_the_end=False)
        return self._release()

    def flush(self) -> str:
        """The text that was held back, once no token can follow."""
        if self.stopped:
            return ""
        self._held += self._new_text(at_the_end=True)
        text = self._release()
        rest, self._held = self._held, ""
        return text if self.stopped else text + rest

    def _new_text(self, *, at_the_end: bool) -> str:
        before = self._decode(self._tokens[self._context : self._told])
        after = self._decode(self._tokens[self._context :])
        # Half a character decodes to the replacement character: wait for the other half.
        if len(after) <= len(before) or (after.endswith(_INCOMPLETE) and not at_the_end):
            return ""
        self._context, self._told = self._told, len(self._tokens)
        return after[len(before) :]

    def _release(self) -> str:
        found = [self._held.index(stop) for stop in self._stop if stop in self._held]
        if found:
            self.stopped = True
            text, self._held = self._held[: min(found)], ""
            return text
        keep = self._could_begin_a_stop()
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text

    def _could_begin_a_stop(self) -> int:
        """How many characters at the end may turn out to be the beginning of a stop string."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stop):
                return size
        return 0
