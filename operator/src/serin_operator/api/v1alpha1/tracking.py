"""FineTuneJob's `tracking`: who is told of a training run, beside the TensorBoard files that are always written.

None of it decides what is learned, so none of it is in the key of training: a change holds from the next attempt on.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, field_rules, rule, rules
from serin_operator.api.v1alpha1.shared import Authority, LocalRef

TrackingUri = Annotated[
    str,
    Field(
        max_length=512,
        json_schema_extra=field_rules(
            [
                rule(
                    r"self.matches('^https?://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?$')"
                    " && !self.contains('/api/2.0')",
                    "uri must be the address of MLflow's start page, such as https://mlflow.example.com, without user,"
                    " password and /api/2.0",
                )
            ]
        ),
    ),
]


class MlflowAuthentication(StrEnum):
    """Token sends the Secret's MLFLOW_TRACKING_TOKEN; Password its MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."""

    TOKEN = "Token"
    PASSWORD = "Password"


class Mlflow(ApiModel):
    """An MLflow server that is told of the run: one run for all attempts of a training, in the named experiment.

    The server may be away: training goes on, and TrainingHealthy has the notice TrackingFailed. A Secret must be there: the
    pods wait for it. All pods of the training are given its keys, since pods of one Job are alike; rank 0 uses them.
    """

    model_config = rules(
        rule(
            "!has(self.secretRef) || self.uri.startsWith('https://')",
            "credentials are sent over https only: give mlflow.uri as https://, or leave secretRef out",
        ),
        rule(
            "!has(self.authentication) || has(self.secretRef)",
            "authentication says how the credentials of secretRef are sent: name a Secret, or leave it out",
        ),
        rule(
            "!has(self.caRef) || self.uri.startsWith('https://')",
            "caRef says whose certificates are believed: give mlflow.uri as https://, or leave caRef out",
        ),
    )

    uri: TrackingUri
    experiment: Annotated[
        str,
        Field(
            min_length=1,
            max_length=250,
            json_schema_extra=field_rules(
                [rule("self == self.trim()", "an experiment's name begins and ends with no space")]
            ),
        ),
    ]
    authentication: Annotated[MlflowAuthentication | None, Field(description="Token when nothing is said.")] = None
    secret_ref: Annotated[
        LocalRef | None,
        Field(
            description="The Secret with MLFLOW_TRACKING_TOKEN, or with MLFLOW_TRACKING_USERNAME and"
            " MLFLOW_TRACKING_PASSWORD. Serin itself reads no Secret."
        ),
    ] = None
    ca_ref: Authority | None = None


class WandbMode(StrEnum):
    """Online tells the server while the model trains; Offline writes files that `wandb sync` brings to one later."""

    ONLINE = "Online"
    OFFLINE = "Offline"


_NAME_RULE = rule(
    "self.matches('^[A-Za-z0-9][A-Za-z0-9._ -]*$')",
    "W&B's projects and entities are named by letters, digits, dots, dashes, underscores and spaces",
)


class Wandb(ApiModel):
    """A Weights & Biases server (wandb.ai, or one of one's own) that is told of the run: one run for all attempts.

    The server may be away: training goes on, and TrainingHealthy has the notice TrackingFailed. Online needs a Secret: the
    pods wait for it. All pods of the training are given its key, since pods of one Job are alike; rank 0 uses it.
    """

    model_config = rules(
        rule(
            "self.mode != 'Online' || has(self.secretRef)",
            "W&B lets nobody in without a key: name the Secret that has WANDB_API_KEY in wandb.secretRef, or set mode to"
            " Offline",
        ),
        rule(
            "self.mode != 'Offline' || (!has(self.secretRef) && !has(self.baseUrl) && !has(self.caRef))",
            "Offline writes files and asks no server: leave wandb.secretRef, wandb.baseUrl and wandb.caRef out",
        ),
    )

    project: Annotated[str, Field(min_length=1, max_length=128, json_schema_extra=field_rules([_NAME_RULE]))]
    entity: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            description="The team or user that has the project; without it the one that the key belongs to.",
            json_schema_extra=field_rules([_NAME_RULE]),
        ),
    ] = None
    mode: WandbMode = WandbMode.ONLINE
    base_url: Annotated[
        str | None,
        Field(
            max_length=512,
            description="The address of a server of one's own; https://api.wandb.ai when nothing is said.",
            json_schema_extra=field_rules(
                [
                    rule(
                        r"self.matches('^https://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$')",
                        "wandb.baseUrl must be https://<host> or https://<host>:<port>: the key is sent over https only",
                    )
                ]
            ),
        ),
    ] = None
    secret_ref: Annotated[
        LocalRef | None, Field(description="The Secret with WANDB_API_KEY. Serin itself reads no Secret.")
    ] = None
    ca_ref: Authority | None = None


class Tracking(ApiModel):
    """Who is told of the training run: of settings and lineage, and of the curves of TensorBoard."""

    model_config = rules(
        rule("has(self.mlflow) || has(self.wandb)", "tracking names who is told: give mlflow, wandb or both")
    )

    mlflow: Mlflow | None = None
    wandb: Wandb | None = None
