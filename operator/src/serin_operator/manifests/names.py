"""Labels, field managers and names of everything that Serin creates, each with its reason.

Names are computed from the owner and the stage's key, so the same wish twice is the same object.
"""

from hashlib import sha256

MANAGED_BY = "app.kubernetes.io/managed-by"  # the watch on children is filtered by it
MANAGER = "serin"

JOB = "serin.dev/job"  # the FineTuneJob that owns a child
SERVICE = "serin.dev/service"  # the ModelService that owns a child, or that a ModelRevision is meant for
REVISION = "serin.dev/revision"  # the ModelRevision that a serving child runs; Prometheus keeps it as `revision`
STAGE = "serin.dev/stage"  # prepare, train, consolidate, evaluate, serve
KEY = "serin.dev/key"  # the first 12 digits of the stage's key
ATTEMPT = "serin.dev/attempt"  # a number: which try of this stage this is
TRAIN_KEY = "serin.dev/train-key"  # on a ModelRevision: finds the model of a job that was deleted and applied again
MODEL_KEY = "serin.dev/model-key"  # likewise, for the consolidated model
PLACEMENT = "serin.dev/placement"  # an annotation on a training Job: what of the spec said where it may run
SIZE = "serin.dev/size"  # an annotation on a training Job: nodes x processes of each
QUEUE = "kueue.x-k8s.io/queue-name"  # Kueue's: the LocalQueue that a Job waits in
QUEUED_JOB = "kueue.x-k8s.io/job-uid"  # Kueue's, on a Workload: the Job that it stands for

RETRY = (
    "serin.dev/retry"  # an annotation of a person's: try again what failed; its value is told apart from the last one
)

LENT_TO = "serin.dev/managed-by-service"  # an annotation of a person's on an HTTPRoute: the ModelService that may write its weights

FIELD_MANAGER_CHILDREN = "serin-children"  # Jobs, ConfigMaps, Services, Deployments
FIELD_MANAGER_STATUS = "serin-status"  # status of FineTuneJob, ModelService, ClusterEvalPolicy, EvalWaiver
FIELD_MANAGER_GATE = "serin-gate"  # ModelRevision.status.gate
FIELD_MANAGER_ROLLOUT = "serin-rollout"  # ModelRevision.status.rollout
FIELD_MANAGER_TRAFFIC = "serin-traffic"  # the HTTPRoute, and the backends of one that is lent

MAX_NAME = 63
KEY_DIGITS = 8
_DIGITS = 10  # of a model's digest, in the name of its revision
_HEX = frozenset("0123456789abcdef")


def bounded(name: str, limit: int = MAX_NAME) -> str:
    """`name` itself, or its beginning and a hash of the whole when it is too long for a label or a host name."""
    if len(name) <= limit:
        return name
    digest = sha256(name.encode()).hexdigest()[:8]
    return f"{name[: limit - 9].rstrip('-.')}-{digest}"


def stage_child(job: str, uid: str, stage: str, key: str, attempt: int) -> str:
    """The Job, ConfigMap and headless Service of one attempt of one stage.

    The owner's uid is part of it: a job that is deleted and applied again must not take the dying children of the old
    one for its own.
    """
    which = sha256(f"{uid}/{key}".encode()).hexdigest()[:KEY_DIGITS]
    return bounded(f"{job}-{stage.lower()}-{which}-{attempt}", MAX_NAME - 8)  # room for the pod's index and suffix


def revision(service: str, digest: str) -> str:
    """The ModelRevision of a model for a service; `digest` is `sha256:<hex>`."""
    return bounded(f"{service}-{digest.removeprefix('sha256:')[:_DIGITS]}")


def is_of(service: str, backend: str) -> bool:
    """A Service of this name can only serve a revision of the ModelService: it ends in ten digits of a digest. The service's
    own name is at most 40 letters, so none of them is ever cut."""
    head, _, digest = backend.rpartition("-")
    return head == service and len(digest) == _DIGITS and set(digest) <= _HEX


def serving(revision_name: str) -> str:
    """The Deployment, Service and ConfigMap that serve one revision."""
    return bounded(revision_name, MAX_NAME - 12)  # room for the ReplicaSet's and the pod's suffixes
