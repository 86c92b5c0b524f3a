"""Pieces of what a ModelService measures and matches: counters with labels, points of percent, tokens of headers."""

from typing import Annotated, Any

from pydantic import Field

from serin_operator.api.base import decimal, field_rules, rule


def token(what: str) -> Any:
    """A name or a value that stands in a header without quotes, and in a regular expression with its dots escaped."""
    return Field(
        min_length=1,
        max_length=128,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.matches('^[A-Za-z0-9._~-]+$')",
                    f"{what} has letters, digits, dots, dashes, tildes and underscores",
                )
            ]
        ),
    )


_LABELS = '([^{}"]|"([^"{}]|[{][{](namespace|service|revision)[}][}])*")*'

Selector = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=field_rules(
            [
                rule(
                    f"self.matches('^[a-zA-Z_:][a-zA-Z0-9_:]*[{{]{_LABELS}[}}]$')",
                    "give a counter as a metric with labels and nothing around it, such as"
                    ' http_requests_total{revision="{{revision}}"}: its raw samples are read; {{namespace}}, {{service}}'
                    " and {{revision}} are filled in, for the stable too",
                ),
                rule(
                    "self.contains('{{revision}}')",
                    "a compared counter must contain {{revision}}: otherwise both arms would be the same",
                ),
            ]
        ),
    ),
]


def points(name: str) -> Any:
    """Percentage points, as a decimal string."""
    return decimal(f"{name} must be above 0, at most 50", "double(self) > 0.0 && double(self) <= 50.0", "0.5")
