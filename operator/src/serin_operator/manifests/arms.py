"""How users of an experiment stay with one revision: rules of the HTTPRoute that go before the one with weights.

Gateways share out requests, not users, and HTTPRoute knows no hashing. Two ways are left that any Gateway can go which
matches headers by regular expressions:

- **by a key** that each request brings in a header, and that ends in two hexadecimal digits, such as a UUID: 256 buckets,
  of which the candidate gets its share. Which ones is drawn anew for each candidate, so the same users do not always meet
  the new model. Nothing is remembered anywhere.
- **by a cookie** that the Gateway sets with the first answer, by a filter of each backend: it names the revision that
  answered. What it names counts only as long as that is one of the two, so an old cookie does nothing.

Pure. Not here: when there are arms (`decide/service/experiment.py`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

COOKIE: Final = "serin-arm"
BUCKETS: Final = 256


@dataclass(frozen=True, slots=True)
class Arms:
    """Two Services, the candidate's share, and by what users are known."""

    candidate: str
    stable: str
    percent: int
    salt: str  # the candidate's digest: what the buckets are drawn by
    header: str = ""
    cookie_seconds: int | None = None

    def rules(self) -> list[tuple[dict[str, Any], str]]:
        """Matches on one header, and the Service of each; a key is more than a cookie that it was given before."""
        found: list[tuple[dict[str, Any], str]] = []
        if self.header:
            ours = buckets(self.salt, self.percent)
            others = [bucket for bucket in range(BUCKETS) if bucket not in ours]
            found += [(_match(self.header, ending_in(ours)), self.candidate)]
            found += [(_match(self.header, ending_in(others)), self.stable)]
        if self.cookie_seconds is not None:
            found += [(_match("Cookie", cookie_of(service)), service) for service in (self.candidate, self.stable)]
        return found

    def filters(self, service: str) -> list[dict[str, Any]]:
        """Of a backend in the rule with weights: who is answered by it comes back to it."""
        if self.cookie_seconds is None or service not in (self.candidate, self.stable):
            return []
        value = f"{COOKIE}={service}; Path=/; Max-Age={self.cookie_seconds}; HttpOnly; SameSite=Lax"
        return [
            {
                "type": "ResponseHeaderModifier",
                "responseHeaderModifier": {"add": [{"name": "Set-Cookie", "value": value}]},
            }
        ]


def of_an_arm(header: Mapping[str, Any]) -> bool:
    """The header's match is of a rule that keeps users with their revision; testers' are exact, and their cookies others."""
    cookie = header.get("name") == "Cookie"
    return header.get("type") == "RegularExpression" and (not cookie or f"{COOKIE}=" in header.get("value", ""))


def buckets(salt: str, percent: int) -> frozenset[int]:
    """Those of the candidate: always the same for the same salt, and those of a smaller share among those of a larger."""
    drawn = sorted(range(BUCKETS), key=lambda bucket: sha256(f"{salt}/{bucket}".encode()).digest())
    return frozenset(drawn[: min(max(round(BUCKETS * percent / 100), 1), BUCKETS - 1)])


def ending_in(found: Collection[int]) -> str:
    """A regular expression (RE2, whole value) for keys whose last two digits are one of these, in either case."""
    by_first = {first: [low for low in range(16) if first * 16 + low in found] for first in range(16)}
    parts = [f"{_digits([first])}{_digits(lows)}" for first, lows in by_first.items() if lows]
    return f"^.*({'|'.join(parts)})$"


def _digits(values: Collection[int]) -> str:
    """`[7aA]`."""
    return "[" + "".join(sorted({*(f"{value:x}" for value in values), *(f"{value:X}" for value in values)})) + "]"


def cookie_of(service: str) -> str:
    return f"^(.*; ?)?{COOKIE}={service}(;.*)?$"


def _match(name: str, value: str) -> dict[str, Any]:
    return {"type": "RegularExpression", "name": name, "value": value}
