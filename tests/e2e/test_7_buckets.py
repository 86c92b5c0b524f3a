"""Data and base model in buckets of a real S3 server in the cluster, whose certificates an authority of one's own has signed.

Three jobs at once, each examples/data/bucket.yaml at this server: one with the right Secret, which trains; one whose Secret has
another key; one whose Secret is not there. Then both Secrets are corrected, and nothing else is touched.

The model of the first goes into a bucket as well, and examples/serving/weights-from-a-bucket.yaml serves it from there: first without
its Secret, then while a byte of the copy is another, then with the byte put back.
"""

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from e2e import store
from e2e.bench import Bench, until
from serin_demo import prepare, staging
from serin_demo.errors import KubectlFailed
from serin_demo.kube import Kubectl, Object, condition
from serin_demo.stories import manifests
from serin_demo.watching import Seen, Watch

NAMESPACE = "serin-e2e-buckets"
EXAMPLE = prepare.EXAMPLES.parent / "data" / "bucket.yaml"
SERVING = prepare.EXAMPLES.parent / "serving" / "weights-from-a-bucket.yaml"
CLAIMS = prepare.EXAMPLES / "00-volumes.yaml"
AUTHORITY = "our-authority"
ANOTHER_TEAMS = "what-another-team-knows"
READS, WRONG_KEY, NO_SECRET = "reads-a-bucket", "wrong-key", "no-secret"
SERVICE, MAY_READ = "support-bot", "may-read"
HELDOUT = [
    {"prompt": f"Which port does service {n} listen on?", "completion": f" On port {8000 + n}."} for n in range(20)
]
GATE: Object = {
    "apiVersion": "serin.dev/v1alpha1",
    "kind": "EvalGate",
    "metadata": {"name": "speaks"},
    "spec": {
        "suites": [{"name": "heldout", "dataset": {"uri": "pvc://artifacts/heldout.jsonl"}, "metrics": ["Perplexity"]}],
        "requirements": [{"name": "at-all", "metric": "heldout/Perplexity", "max": "1e9"}],
    },
}


@dataclass
class Buckets:
    """The jobs as they stood when they had to wait, and as they went on; every pod that there was."""

    kubectl: Kubectl
    store: store.Store
    waiting: dict[str, Object] = field(default_factory=dict)
    prepared: dict[str, Object] = field(default_factory=dict)
    trained: Object = field(default_factory=dict)
    copied: Object = field(default_factory=dict)
    revision: Object = field(default_factory=dict)
    services: dict[str, Object] = field(default_factory=dict)  # as the service stood: without a Secret, refused, served
    answered: str = ""  # the revision that a request was answered by
    report: Object = field(default_factory=dict)
    pods: list[Seen] = field(default_factory=list)

    def once(self, name: str, true: Callable[[Object], bool], what: str) -> Object:
        """The first version of the job that is so: the next one may be another attempt's."""

        def look() -> Object | None:
            job = self.kubectl.get("finetunejob", name) or {}
            return job if true(job) else None

        return until(look, f"{name} {what}", 180)

    def service(self, true: Callable[[Object], bool], what: str) -> Object:
        """The same of the service."""

        def look() -> Object | None:
            service = self.kubectl.get("modelservice", SERVICE) or {}
            return service if true(service) else None

        return until(look, f"{SERVICE} {what}", 420)


@pytest.fixture(scope="module")
def buckets(bench: Bench) -> Buckets:
    bench.namespaces.append(NAMESPACE)
    staging.fresh_namespace(bench.cluster.kubectl, NAMESPACE)
    kubectl, image = bench.cluster.kubectl.within(NAMESPACE), bench.cluster.images["trainer"]
    found = Buckets(kubectl, store.put_up(kubectl, image))
    authority = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": AUTHORITY},
        "data": {"ca.crt": found.store.authority},
    }
    secrets = [store.secret("store"), store.secret(WRONG_KEY, AWS_SECRET_ACCESS_KEY=ANOTHER_TEAMS)]
    artifacts = [one for one in manifests(CLAIMS) if one["metadata"]["name"] == "artifacts"]
    with Watch(kubectl, "pods") as watch:
        kubectl.apply([*artifacts, authority, *secrets, GATE, from_the_bucket(found.store.endpoint)])
        with staging.loader(kubectl, image, ("artifacts",)) as on_volumes:
            rows = "".join(f"{json.dumps(row)}\n" for row in HELDOUT)
            on_volumes(["sh", "-c", "cat > /mnt/pvc/artifacts/heldout.jsonl"], rows.encode())
        jobs = ((READS, "store"), (WRONG_KEY, WRONG_KEY), (NO_SECRET, NO_SECRET))
        kubectl.apply(from_a_bucket(name, secret, found.store.endpoint) for name, secret in jobs)
        for name, reason in ((NO_SECRET, "SecretNotFound"), (WRONG_KEY, "DatasetAccessDenied")):
            found.waiting[name] = found.once(name, lambda job, reason=reason: says(job, reason), f"says {reason}")
        kubectl.apply([store.secret(WRONG_KEY), store.secret(NO_SECRET)])
        for name, _secret in jobs:
            found.prepared[name] = found.once(name, is_prepared, "is prepared")
            if name != READS:
                kubectl.delete("finetunejob", name, wait=False)  # its training would only take time
        found.trained = found.once(READS, is_trained, "is trained")
        found.copied = found.once(READS, is_copied, "is copied")
        serve_from_the_bucket(found)
        kubectl.delete("finetunejob", READS, wait=False)
    found.pods = watch.history
    path = stage(found.trained, "Prepare")["output"]["reportUri"].replace("pvc://", "/mnt/pvc/")
    with staging.loader(kubectl, image, ("artifacts",)) as on_volumes:
        found.report = json.loads(on_volumes(["cat", path], b""))
    return found


def from_a_bucket(name: str, secret: str, endpoint: str) -> Object:
    """The example with what a user fills in, everything in buckets, and two steps of a small model."""
    (job,) = manifests(EXAMPLE)
    job["metadata"]["name"] = name
    spec: dict[str, Any] = job["spec"]
    tickets, general = spec["data"]["train"]
    tickets["s3"] |= {"endpoint": endpoint, "caRef": {"name": AUTHORITY}}
    general["uri"] = "s3://team-data/general/train.parquet"
    spec["baseModel"]["uri"] = store.BASE_MODEL
    for one in (tickets, general, spec["baseModel"]):
        one |= {"s3": copy.deepcopy(tickets["s3"]), "secretRef": {"name": secret}}
    # Rows of one mould, and few of them.
    spec["data"] |= {
        "cleaning": {"nearDuplicates": {"action": "Keep"}},
        "split": {"minValidationRows": 10, "minTestRows": 10},
    }
    spec["hyperparameters"] = {"maxSteps": 2, "saveSteps": 2, "batchSize": 2, "maxSequenceLength": 64}
    resources = {"requests": {"cpu": "100m", "memory": "600Mi"}, "limits": {"cpu": "1", "memory": "3Gi"}}
    spec["distribution"] = {"resources": resources}
    if name == READS:
        spec["artifacts"]["copyTo"] = {"uri": store.COPIES, "s3": tickets["s3"], "secretRef": {"name": secret}}
        spec["gates"] = [{"name": GATE["metadata"]["name"]}]
        spec["rollout"] = {"modelServiceRef": {"name": SERVICE}}
    return job


def from_the_bucket(endpoint: str) -> Object:
    """The example's service with what a user fills in, for a cluster without a name for it."""
    _job, service = manifests(SERVING)
    spec: dict[str, Any] = service["spec"]
    spec["runtime"]["weights"]["s3"] |= {"endpoint": endpoint, "caRef": {"name": AUTHORITY}}
    spec["runtime"]["resources"] = {
        "requests": {"cpu": "100m", "memory": "512Mi"},
        "limits": {"cpu": "1", "memory": "2Gi"},
    }
    spec["traffic"] = {"provider": "ReplicaRatio"}
    spec["canary"] = {"steps": [{"weightPercent": 50}, {"weightPercent": 100}]}
    assert spec["runtime"]["weights"]["uri"] == store.COPIES
    assert spec["runtime"]["weights"]["secretRef"] == {"name": MAY_READ}
    return service


def serve_from_the_bucket(found: Buckets) -> None:
    """The model's file is touched while its pod still waits for the Secret, so that no moment has to be met."""
    found.services["no secret"] = found.service(
        lambda one: MAY_READ in ready(one)["message"], "says that it has no Secret"
    )
    found.revision = found.kubectl.items("modelrevisions")[0]
    weights = f"{stage(found.copied, 'Copy')['output']['uri']}/model.safetensors"
    store.touch(found.kubectl, weights)
    found.kubectl.apply([store.secret(MAY_READ)])
    found.services["refused"] = found.service(
        lambda one: "SHA-256" in ready(one)["message"], "refuses the touched file"
    )
    store.put_back(found.kubectl, weights)
    found.services["served"] = found.service(lambda one: "stable" in one.get("status", {}), "serves")
    found.answered = until(lambda: who_answers(found.kubectl), "a request is answered", 120)


def ready(service: Object) -> Object:
    return {"message": "", **condition(service, "Ready")}


def who_answers(kubectl: Kubectl) -> str:
    """The revision, asked by the Service that clients use; empty while nobody answers."""
    ask = f"import urllib.request as r; print(r.urlopen('http://{SERVICE}:8000/v1/models').headers['x-serin-revision'])"
    try:
        return kubectl.execute(store.NAME, ["python", "-c", ask]).decode().strip()
    except KubectlFailed:
        return ""


def stage(job: Object, name: str) -> Object:
    return next((one for one in job.get("status", {}).get("stages", []) if one["name"] == name), {})


def says(job: Object, reason: str) -> bool:
    return condition(job, "DataPrepared").get("reason") == reason


def is_prepared(job: Object) -> bool:
    return condition(job, "DataPrepared").get("status") == "True"


def is_trained(job: Object) -> bool:
    return stage(job, "Train").get("outcome") == "Succeeded"


def is_copied(job: Object) -> bool:
    return condition(job, "Copied").get("status") == "True"


def test_all_rows_below_the_prefix_are_read_and_one_that_stands_twice_is_dropped(buckets: Buckets) -> None:
    output = stage(buckets.trained, "Prepare")["output"]
    several = len(store.TICKETS) + len(store.GENERAL)
    assert output["rows"]["read"] == several + 1
    assert output["dropped"] == {"Duplicate": 1}
    assert (output["rows"]["validation"], output["rows"]["test"]) == (several // 10, several // 10)
    assert f"{several} of {several + 1} rows kept" in condition(buckets.trained, "DataPrepared")["message"]


def test_the_report_has_what_was_read_of_each_source_by_digest(buckets: Buckets) -> None:
    """A file's is its SHA-256; that of a prefix covers the names as well (docs/data.md)."""
    tickets, general = buckets.report["sources"]
    assert (tickets["files"], tickets["leftOut"], tickets["read"]) == (2, 1, len(store.TICKETS) + 1)
    assert (general["files"], general["leftOut"], general["read"]) == (1, 0, len(store.GENERAL))
    assert general["digest"] == f"sha256:{buckets.store.digests[general['uri']]}"
    below = sorted((uri, digest) for uri, digest in buckets.store.digests.items() if "/part-" in uri)
    assert tickets["digest"] == _over(f"{digest}  {uri}" for uri, digest in below)
    weights = tickets["used"], general["used"]
    assert weights[0] / sum(weights) == pytest.approx(0.85, abs=0.02)


def test_the_status_has_one_digest_of_all_that_was_read(buckets: Buckets) -> None:
    found = {one["name"]: one["digest"].removeprefix("sha256:") for one in buckets.report["sources"]}
    wanted = _over(f"{found[name]}  train/{name}" for name in sorted(found))
    assert stage(buckets.trained, "Prepare")["output"]["sourcesDigest"] == wanted


def test_it_trains_on_the_copy_of_the_base_model(buckets: Buckets) -> None:
    assert stage(buckets.trained, "Prepare")["output"]["baseModelUri"].startswith("pvc://artifacts/")
    assert stage(buckets.trained, "Train")["output"]["steps"] == 2


def test_only_the_pods_that_fetch_and_copy_are_given_credentials(buckets: Buckets) -> None:
    given: dict[str, bool] = {}
    for seen in buckets.pods:
        labels = seen.object["metadata"].get("labels", {})
        if labels.get("serin.dev/job") == READS:
            told = json.dumps(seen.object["spec"])
            given[labels["serin.dev/stage"]] = "AWS_SECRET_ACCESS_KEY" in told
    copying = {"prepare": True, "train": False, "consolidate": False, "copy": True, "evaluate": False}
    assert given == copying


def test_the_model_is_copied_to_the_folder_of_its_digest(buckets: Buckets) -> None:
    digest = stage(buckets.copied, "Consolidate")["output"]["digest"]
    found = stage(buckets.copied, "Copy")
    assert found["output"]["uri"] == f"{store.COPIES}/{digest.replace(':', '-')}"
    assert found["output"]["skipped"] == 0
    assert f"{found['output']['files']} files" in condition(buckets.copied, "Copied")["message"]


def test_the_revision_says_how_much_its_pods_will_fetch(buckets: Buckets) -> None:
    artifact = buckets.revision["spec"]["artifact"]
    assert artifact["sizeBytes"] == stage(buckets.copied, "Consolidate")["output"]["sizeBytes"]


def test_a_service_without_its_secret_says_which_field_names_it(buckets: Buckets) -> None:
    said = ready(buckets.services["no secret"])["message"]
    assert f"spec.runtime.weights.secretRef names the Secret '{MAY_READ}'" in said
    assert "create it with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in said


def test_a_file_that_was_touched_in_the_bucket_is_not_served_and_is_named(buckets: Buckets) -> None:
    service = buckets.services["refused"]
    assert "stable" not in service["status"]
    said = ready(service)["message"]
    uri = stage(buckets.copied, "Copy")["output"]["uri"]
    assert f"the file model.safetensors of {uri} has SHA-256" in said
    assert "deleted and applied anew" in said


def test_once_it_is_put_back_the_model_is_served_without_the_claim(buckets: Buckets) -> None:
    name = buckets.revision["metadata"]["name"]
    assert buckets.services["served"]["status"]["stable"]["revision"] == name
    assert buckets.answered == name
    pods = [s.object for s in buckets.pods if s.object["metadata"].get("labels", {}).get("serin.dev/stage") == "serve"]
    assert pods
    assert not any("persistentVolumeClaim" in volume for pod in pods for volume in pod["spec"]["volumes"])
    mounts = {
        m["mountPath"]: m.get("readOnly", False) for pod in pods for m in pod["spec"]["containers"][0]["volumeMounts"]
    }
    assert mounts["/mnt/weights"] is True
    assert all("SERIN_SECRET" not in json.dumps(pod["spec"]["containers"]) for pod in pods)


def test_a_wrong_key_is_told_with_the_secret_that_has_it(buckets: Buckets) -> None:
    found = condition(buckets.waiting[WRONG_KEY], "DataPrepared")
    assert (found["status"], found["reason"]) == ("False", "DatasetAccessDenied")
    assert f"does not take the AWS_SECRET_ACCESS_KEY of the Secret '{WRONG_KEY}'" in found["message"]
    assert "correct the Secret" in found["message"]


def test_a_secret_that_is_not_there_is_told_with_what_it_needs(buckets: Buckets) -> None:
    """In the words of a real kubelet, from which the operator knows it. The pod waits, and may yet start."""
    found = condition(buckets.waiting[NO_SECRET], "DataPrepared")
    assert (found["status"], found["reason"]) == ("Unknown", "SecretNotFound")
    assert f"spec.baseModel.secretRef (and 2 more) names the Secret '{NO_SECRET}'" in found["message"]
    assert "create it with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in found["message"]


def test_no_job_ever_tells_a_key(buckets: Buckets) -> None:
    told = json.dumps([buckets.waiting, buckets.prepared, buckets.copied, buckets.services, buckets.report])
    assert not any(key in told for key in (ANOTHER_TEAMS, *store.ACCESS.values()))


@pytest.mark.parametrize("name", [WRONG_KEY, NO_SECRET])
def test_the_job_goes_on_by_itself_once_the_secret_is_right(buckets: Buckets, name: str) -> None:
    assert is_prepared(buckets.prepared[name])


def _over(lines: Any) -> str:
    return "sha256:" + hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
