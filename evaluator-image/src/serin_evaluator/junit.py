"""junit.xml: the measurements as CI systems show them. A score is a test case: it succeeds when it could be measured,
and is an error, with the reason, when it could not. Whether it is good enough is the gate's verdict, which the job's
status tells. Not here: what was measured (`report.py`)."""

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree


def junit(report: Mapping[str, Any]) -> str:
    """The document."""
    job = report["job"]
    cases = [_score(one) for one in report["scores"] if one["role"] == "Candidate"]
    cases += [_difference(one) for one in report["comparisons"]]
    cases += [_missing(one) for one in report["missing"]]
    suite = ElementTree.Element(
        "testsuite",
        name=f"evaluation of {job['namespace']}/{job['name']}",
        tests=str(len(cases)),
        failures="0",
        errors=str(len(report["missing"])),
        skipped="0",
    )
    suite.extend(cases)
    whole = ElementTree.Element("testsuites")
    whole.append(suite)
    ElementTree.indent(whole)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(whole, encoding="unicode") + "\n"


def _score(one: Mapping[str, Any]) -> ElementTree.Element:
    numbers = f"{one['value']:.6g} [{one['low']:.6g}, {one['high']:.6g}] on {one['n']} examples ({one['unit']})"
    return _case(one["suite"], one["metric"] + _part(one), numbers)


def _difference(one: Mapping[str, Any]) -> ElementTree.Element:
    numbers = (
        f"{one['difference']:+.6g} [{one['low']:+.6g}, {one['high']:+.6g}] on {one['n']} examples ({one['method']})"
    )
    return _case(one["suite"], f"{one['metric']}{_part(one)} against {one['against']}", numbers)


def _missing(one: Mapping[str, Any]) -> ElementTree.Element:
    suite, _, what = one["what"].partition("/")
    case = ElementTree.Element("testcase", classname=_clean(suite), name=_clean(what))
    ElementTree.SubElement(case, "error", message=_clean(one["why"]), type="CouldNotMeasure")
    return case


def _case(suite: str, name: str, told: str) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=_clean(suite), name=_clean(name))
    ElementTree.SubElement(case, "system-out").text = told
    return case


def _part(one: Mapping[str, Any]) -> str:
    return f"@{one['slice']['field']}={one['slice']['value']}" if one["slice"] else ""


def _clean(text: str) -> str:
    """XML has no place for most control characters."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
