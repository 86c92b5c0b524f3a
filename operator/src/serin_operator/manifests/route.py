"""The HTTPRoute of a ModelService: a rule with one weighted backend for each revision
(https://gateway-api.sigs.k8s.io/guides/traffic-splitting/), and before it one for testers, whose more exact matches go first
in any implementation. Pure; who gets what is decided elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

from serin_operator.api.v1alpha1 import ModelService, Testers
from serin_operator.manifests import names
from serin_operator.manifests.arms import Arms
from serin_operator.manifests.engines import PORT
from serin_operator.manifests.owned import metadata_of

GATEWAY_GROUP = "gateway.networking.k8s.io"
_EVERYTHING = {"type": "PathPrefix", "value": "/"}
REQUEST_TIMEOUT = "10m"  # long answers are streamed; proxies' own defaults cut them off after seconds


def http_route(
    service: ModelService,
    backends: Sequence[tuple[str, int]],
    hostnames: Sequence[str] | None = None,
    testers: str = "",
    mirror: str = "",
    arms: Arms | None = None,
) -> dict[str, Any]:
    """`backends` are (Service, weight); `hostnames` all of the service's, unless some of them are another's; `testers` and
    `mirror` the Services that get testers' requests and copies of all others; `arms` keep users of an experiment where they
    are. Defaults are written out: what is not named is not ours under apply."""
    traffic = service.spec.traffic
    return {
        "apiVersion": f"{GATEWAY_GROUP}/v1",
        "kind": "HTTPRoute",
        "metadata": metadata_of(service),
        "spec": {
            "parentRefs": [
                {
                    "group": GATEWAY_GROUP,
                    "kind": "Gateway",
                    "namespace": traffic.gateway.namespace,
                    "name": traffic.gateway.name,
                }
            ],
            "hostnames": list(hostnames if hostnames is not None else traffic.hostnames or ()),
            "rules": [
                *([_rule(_of_testers(traffic.testers), [(testers, 1)])] if testers and traffic.testers else []),
                *(
                    _rule([{"path": _EVERYTHING, "headers": [m]}], [(to, 1)])
                    for m, to in (arms.rules() if arms else [])
                ),
                _rule([{"path": _EVERYTHING}], backends, mirror, arms),
            ],
        },
    }


def _rule(
    matches: list[dict[str, Any]], backends: Sequence[tuple[str, int]], mirror: str = "", arms: Arms | None = None
) -> dict[str, Any]:
    copies = {"type": "RequestMirror", "requestMirror": {"backendRef": _service(mirror)}}
    return {
        "matches": matches,
        **({"filters": [copies]} if mirror else {}),
        "backendRefs": [
            {
                **_service(name),
                "weight": weight,
                **({"filters": found} if arms and (found := arms.filters(name)) else {}),
            }
            for name, weight in backends
        ],
        "timeouts": {"request": REQUEST_TIMEOUT},
    }


def _of_testers(testers: Testers) -> list[dict[str, Any]]:
    """One of them is enough. Gateways have no match for cookies: it is one for the header that carries them all."""
    headers = [{"type": "Exact", "name": one.name, "value": one.value} for one in testers.headers]
    headers += [
        {
            "type": "RegularExpression",
            "name": "Cookie",
            "value": rf"^(.*; ?)?{_plain(one.name)}={_plain(one.value)}(;.*)?$",
        }
        for one in testers.cookies
    ]
    return [{"path": _EVERYTHING, "headers": [header]} for header in headers]


def _plain(text: str) -> str:
    return text.replace(".", r"\.")


# --- a route of the user's ------------------------------------------------------------------------------------------


def leads_to(ref: Mapping[str, Any], service: ModelService) -> bool:
    """A backendRef of a rule that is lent to the service: a Service of its revisions, or the one that stands for them where
    the user writes the rule, which has the service's own name."""
    plain = (ref.get("group", ""), ref.get("kind", "Service")) == ("", "Service")
    here = ref.get("namespace", service.metadata.namespace) == service.metadata.namespace
    return plain and here and (ref["name"] == service.metadata.name or names.is_of(service.metadata.name, ref["name"]))


def reweighed(
    rules: Sequence[Mapping[str, Any]], place: int, service: ModelService, backends: Sequence[tuple[str, int]]
) -> list[Mapping[str, Any]]:
    """The rules of a lent route with these backends in one of them. All else is as it was: the other rules, the rest of this
    one, backends that lead elsewhere. A backend that is new is like the first that is there in all that the user says
    beside its name and weight (filters, say), so that stable and candidate are treated alike."""
    rule = rules[place]
    refs = [ref for ref in rule.get("backendRefs") or () if leads_to(ref, service)]
    known = {ref["name"]: ref for ref in refs}
    like: Mapping[str, Any] = refs[0] if refs else {}
    wanted = [
        {**known.get(name, like), **(_service(name) if name != service.metadata.name else {}), "weight": weight}
        for name, weight in backends
    ]
    elsewhere = [ref for ref in rule.get("backendRefs") or () if not leads_to(ref, service)]
    changed = {**rule, "backendRefs": [*wanted, *elsewhere]}
    return [*rules[:place], changed, *rules[place + 1 :]]


def _service(name: str) -> dict[str, Any]:
    return {"group": "", "kind": "Service", "name": name, "port": PORT}
