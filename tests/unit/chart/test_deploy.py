"""deploy/serin.yaml is the chart with its defaults: what holds for it holds for what people install.

That it is current, and that an apiserver takes it, is for tests/cluster/test_chart.py.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from serin_operator.settings import Settings

ROOT = Path(__file__).parents[3]
OBJECTS: list[dict[str, Any]] = [one for one in yaml.safe_load_all((ROOT / "deploy/serin.yaml").read_text()) if one]
ROLES = [one for one in OBJECTS if one["kind"] in ("ClusterRole", "Role")]


def only(kind: str) -> dict[str, Any]:
    (found,) = [one for one in OBJECTS if one["kind"] == kind]
    return found


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role["metadata"]["name"])
def test_no_role_reaches_secrets_or_everything(role: dict[str, Any]) -> None:
    for rule in role["rules"]:
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        assert not any(resource.startswith("secrets") for resource in rule["resources"])


def test_the_operator_writes_no_spec_that_belongs_to_git() -> None:
    (operator,) = [role for role in ROLES if role["kind"] == "ClusterRole" and role["metadata"]["name"] == "serin"]
    writing = {"create", "update", "patch", "delete"}
    written = {
        resource
        for rule in operator["rules"]
        if "serin.dev" in rule["apiGroups"] and writing & set(rule["verbs"])
        for resource in rule["resources"]
    }
    assert written == {
        "finetunejobs/status",
        "modelservices/status",
        "modelrevisions/status",
        "modelrevisions",
        "clusterevalpolicies/status",
        "evalwaivers/status",
    }


def test_the_configuration_is_what_the_operator_reads() -> None:
    settings = Settings.model_validate(yaml.safe_load(only("ConfigMap")["data"]["operator.yaml"]))
    assert settings.images.trainer == "serin.dev/trainer:dev"
    assert [source.name for source in settings.metric_sources] == ["default"]


def test_the_chart_sets_every_setting_and_its_defaults_are_the_operators() -> None:
    given = yaml.safe_load(only("ConfigMap")["data"]["operator.yaml"])
    fields = Settings.model_fields
    assert given.keys() == {field.alias for field in fields.values()}
    plain = {name: field for name, field in fields.items() if name not in ("images", "metric_sources")}
    assert {field.alias: _plain(field.default) for field in plain.values()} == {
        field.alias: given[str(field.alias)] for field in plain.values()
    }


def _plain(default: object) -> object:
    return default.model_dump(by_alias=True) if isinstance(default, BaseModel) else default


def test_the_developers_configuration_is_one_the_operator_reads() -> None:
    Settings.model_validate(yaml.safe_load((ROOT / "hack/dev-operator.yaml").read_text()))


def test_the_pod_may_do_nothing_it_need_not() -> None:
    pod = only("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_charts_crds_are_the_crds() -> None:
    copies = ROOT / "charts/serin/files/crds"
    originals = ROOT / "crds"
    assert {file.name: file.read_text() for file in copies.iterdir()} == {
        file.name: file.read_text() for file in originals.iterdir()
    }


def test_the_crds_to_apply_are_the_crds_to_read() -> None:
    rendered = {one["metadata"]["name"]: one["spec"] for one in OBJECTS if one["kind"] == "CustomResourceDefinition"}
    written = [yaml.safe_load(file.read_text()) for file in (ROOT / "crds").iterdir()]
    assert rendered == {one["metadata"]["name"]: one["spec"] for one in written}
