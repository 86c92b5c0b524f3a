"""Fields of an apiserver's OpenAPI documents."""

from serin_demo.openapi import ApiField, fields_of

DEPLOYMENT = {
    "components": {
        "schemas": {
            "io.k8s.api.apps.v1.Deployment": {
                "x-kubernetes-group-version-kind": [{"group": "apps", "kind": "Deployment", "version": "v1"}],
                "properties": {
                    "apiVersion": {"type": "string", "description": "The version."},
                    "spec": {
                        "description": "What is wanted.",
                        "allOf": [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}],
                    },
                },
            },
            "io.k8s.api.apps.v1.DeploymentSpec": {
                "properties": {
                    "replicas": {"type": "integer", "description": "Number of desired pods."},
                    "undocumented": {"type": "string"},
                    "hosts": {"type": "array", "items": {"type": "string"}, "description": "Names of hosts."},
                }
            },
            "io.k8s.api.apps.v1.DeploymentList": {"properties": {"items": {"description": "The deployments."}}},
        }
    }
}


def found() -> dict[tuple[str, str], ApiField]:
    return {(field.kind, field.path): field for field in fields_of([DEPLOYMENT])}


def test_a_field_is_found_under_its_definition_and_under_the_kind_that_refers_to_it() -> None:
    assert ("DeploymentSpec", "replicas") in found()
    assert ("Deployment", "spec.replicas") in found()


def test_boilerplate_and_undocumented_fields_and_lists_are_left_out() -> None:
    assert set(found()) == {
        ("Deployment", "spec"),
        ("Deployment", "spec.replicas"),
        ("Deployment", "spec.hosts"),
        ("DeploymentSpec", "replicas"),
        ("DeploymentSpec", "hosts"),
    }


def test_the_type_of_a_list_names_what_is_in_it() -> None:
    assert found()["DeploymentSpec", "hosts"].type == "list of string"


def test_inline_objects_of_custom_resources_are_walked() -> None:
    inner = {"properties": {"port": {"type": "integer", "description": "Port to use."}}}
    spec = {"type": "object", "description": "The wish.", "properties": {"rules": {"type": "array", "items": inner}}}
    fields = fields_of([{"components": {"schemas": {"dev.serin.Thing": {"properties": {"spec": spec}}}}}])
    assert [field.path for field in fields] == ["spec", "spec.rules.port"]


def test_a_schema_that_refers_to_itself_ends() -> None:
    itself = {"$ref": "#/components/schemas/x.Node"}
    node = {
        "x-kubernetes-group-version-kind": [{"group": "x", "kind": "Node", "version": "v1"}],
        "properties": {"next": {"description": "The next one.", "allOf": [itself]}},
    }
    fields = fields_of([{"components": {"schemas": {"x.Node": node}}}])
    assert [field.path for field in fields] == ["next" + ".next" * deeper for deeper in range(6)]
