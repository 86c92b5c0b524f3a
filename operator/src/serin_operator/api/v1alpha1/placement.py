"""FineTuneJob's `distribution`: where its training pods may run, and how they talk to each other.

None of it decides what is learned, so none of it is in the key of training: a change trains nothing again.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, field_rules, list_map, object_name, rule, rules
from serin_operator.api.v1alpha1.shared import LocalRef

_LABEL_KEY = "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_LABEL_VALUE = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"

ClassName = Annotated[str, object_name("a class is named by lower-case letters, digits, dashes and dots")]

NodeSelector = Annotated[
    dict[str, Annotated[str, Field(max_length=63)]],
    Field(
        max_length=16,
        json_schema_extra=field_rules(
            [
                rule(
                    f"self.all(k, k.matches('{_LABEL_KEY}') && self[k].matches('{_LABEL_VALUE}'))",
                    "each entry must be a node's label, such as topology.kubernetes.io/zone: eu-1a",
                )
            ]
        ),
    ),
]


class TolerationOperator(StrEnum):
    EQUAL = "Equal"
    EXISTS = "Exists"


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """A taint that the training pods bear, as in a pod's `tolerations`."""

    model_config = rules(
        rule("self.operator != 'Exists' || !has(self.value)", "with operator Exists a toleration has no value"),
        rule("has(self.key) || self.operator == 'Exists'", "a toleration without a key needs operator Exists"),
        rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds goes with effect NoExecute only",
        ),
    )

    key: (
        Annotated[
            str,
            Field(
                max_length=316,
                json_schema_extra=field_rules(
                    [
                        rule(
                            f"self.matches('{_LABEL_KEY}')",
                            "a taint's key is written as a label's, such as example.com/gpu",
                        )
                    ]
                ),
            ),
        ]
        | None
    ) = None
    operator: TolerationOperator = TolerationOperator.EQUAL
    value: (
        Annotated[
            str,
            Field(
                max_length=63,
                json_schema_extra=field_rules(
                    [rule(f"self.matches('{_LABEL_VALUE}')", "a taint's value is written as a label's")]
                ),
            ),
        ]
        | None
    ) = None
    effect: TaintEffect | None = None
    toleration_seconds: Annotated[int, Field(ge=0, le=86400)] | None = None


class Scheduling(ApiModel):
    """On which nodes the training pods run, and before whom. The other stages are small and run anywhere."""

    node_selector: NodeSelector = Field(default_factory=dict)
    tolerations: Annotated[
        list[Toleration], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    priority_class_name: ClassName | None = None
    runtime_class_name: ClassName | None = None
    image_pull_secrets: Annotated[list[LocalRef], list_map("name", 8)] = []


class CommunicationVariable(StrEnum):
    """The settings of NCCL, Gloo, UCX and libfabric that may be given. Those that load a library, or read or write a
    file, are not among them: no code but Serin's runs in its pods."""

    GLOO_SOCKET_IFNAME = "GLOO_SOCKET_IFNAME"
    NCCL_ALGO = "NCCL_ALGO"
    NCCL_BUFFSIZE = "NCCL_BUFFSIZE"
    NCCL_CROSS_NIC = "NCCL_CROSS_NIC"
    NCCL_CUMEM_ENABLE = "NCCL_CUMEM_ENABLE"
    NCCL_DEBUG = "NCCL_DEBUG"
    NCCL_DEBUG_SUBSYS = "NCCL_DEBUG_SUBSYS"
    NCCL_DMABUF_ENABLE = "NCCL_DMABUF_ENABLE"
    NCCL_IB_ADAPTIVE_ROUTING = "NCCL_IB_ADAPTIVE_ROUTING"
    NCCL_IB_DISABLE = "NCCL_IB_DISABLE"
    NCCL_IB_GID_INDEX = "NCCL_IB_GID_INDEX"
    NCCL_IB_HCA = "NCCL_IB_HCA"
    NCCL_IB_PCI_RELAXED_ORDERING = "NCCL_IB_PCI_RELAXED_ORDERING"
    NCCL_IB_QPS_PER_CONNECTION = "NCCL_IB_QPS_PER_CONNECTION"
    NCCL_IB_RETRY_CNT = "NCCL_IB_RETRY_CNT"
    NCCL_IB_SL = "NCCL_IB_SL"
    NCCL_IB_TC = "NCCL_IB_TC"
    NCCL_IB_TIMEOUT = "NCCL_IB_TIMEOUT"
    NCCL_MAX_NCHANNELS = "NCCL_MAX_NCHANNELS"
    NCCL_MIN_NCHANNELS = "NCCL_MIN_NCHANNELS"
    NCCL_NET_GDR_LEVEL = "NCCL_NET_GDR_LEVEL"
    NCCL_NSOCKS_PERTHREAD = "NCCL_NSOCKS_PERTHREAD"
    NCCL_NTHREADS = "NCCL_NTHREADS"
    NCCL_NVLS_ENABLE = "NCCL_NVLS_ENABLE"
    NCCL_P2P_DISABLE = "NCCL_P2P_DISABLE"
    NCCL_P2P_LEVEL = "NCCL_P2P_LEVEL"
    NCCL_PROTO = "NCCL_PROTO"
    NCCL_SHM_DISABLE = "NCCL_SHM_DISABLE"
    NCCL_SOCKET_FAMILY = "NCCL_SOCKET_FAMILY"
    NCCL_SOCKET_IFNAME = "NCCL_SOCKET_IFNAME"
    NCCL_SOCKET_NTHREADS = "NCCL_SOCKET_NTHREADS"
    FI_EFA_USE_DEVICE_RDMA = "FI_EFA_USE_DEVICE_RDMA"
    FI_PROVIDER = "FI_PROVIDER"
    UCX_NET_DEVICES = "UCX_NET_DEVICES"
    UCX_TLS = "UCX_TLS"


class Variable(ApiModel):
    """An environment variable of the training pods, of those that say how processes talk to each other."""

    name: CommunicationVariable
    value: Annotated[
        str,
        Field(
            min_length=1,
            max_length=256,
            json_schema_extra=field_rules(
                [
                    rule(
                        "self.matches('^[A-Za-z0-9_.,:;=^*+-]+$')",
                        "a setting's value has letters, digits and the signs _ . , : ; = ^ * + - only",
                    )
                ]
            ),
        ),
    ]


Memory = Annotated[
    str,
    Field(
        max_length=32,
        json_schema_extra=field_rules(
            [
                rule(
                    "isQuantity(self) && quantity(self).isGreaterThan(quantity('1Mi'))"
                    " && quantity(self).isLessThan(quantity('1E'))",
                    "it must be a quantity of more than 1Mi, such as 8Gi",
                )
            ]
        ),
    ),
]
