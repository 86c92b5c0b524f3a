"""FineTuneJob's `data`: sources, split, cleaning and what becomes of the rows."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import (
    ApiModel,
    BucketUri,
    CopiesUri,
    DataUri,
    Endpoint,
    ModelUri,
    Name,
    Region,
    list_map,
    rule,
    rules,
)
from serin_operator.api.v1alpha1.shared import Authority, LocalRef, Percent


class Addressing(StrEnum):
    """Path: https://<endpoint>/<bucket>/<key>, as most stores other than AWS want it; VirtualHosted:
    https://<bucket>.<endpoint>/<key>."""

    PATH = "Path"
    VIRTUAL_HOSTED = "VirtualHosted"


class ObjectStore(ApiModel):
    """Where a bucket is. Without an endpoint it is one of AWS."""

    model_config = rules(
        rule(
            "!has(self.caRef) || (has(self.endpoint) && self.endpoint.startsWith('https://'))",
            "caRef says whose certificates are believed: give s3.endpoint as https://, or leave caRef out",
        )
    )

    endpoint: Endpoint | None = None
    region: Region | None = None
    addressing: Addressing = Addressing.PATH
    ca_ref: Authority | None = None


_STORE_RULES = (
    rule(
        "!has(self.s3) || self.uri.startsWith('s3://')", "s3 says where a bucket is: it goes with a uri that is s3://"
    ),
    rule(
        "!has(self.secretRef) || !self.uri.startsWith('pvc://')",
        "secretRef names the credentials for s3:// (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or hf:// (HF_TOKEN):"
        " a volume needs none",
    ),
)

_SECRET = Field(
    description="The Secret with the credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if there is one,"
    " AWS_SESSION_TOKEN for s3://; HF_TOKEN for hf://. Only the pod that fetches is given them; Serin itself reads"
    " no Secret. Without it the address must be public."
)


class ModelSource(ApiModel):
    """The model to start from: safetensors on a volume, in a bucket, or on the Hugging Face hub.

    From a bucket, or with a secret, it is copied to the artifacts once, by Prepare.
    """

    model_config = rules(*_STORE_RULES)

    uri: ModelUri
    s3: ObjectStore | None = None
    secret_ref: Annotated[LocalRef | None, _SECRET] = None

    @property
    def copied(self) -> bool:
        """Whether Prepare copies it to the artifacts: later pods have no credentials and know no buckets."""
        return self.secret_ref is not None or self.uri.startswith("s3://")


class Copies(ApiModel):
    """Where copies of models lie: `<uri>/sha256-<digest>/` in a bucket, or the revision `sha256-<digest>` of a repository of
    the Hugging Face hub. Who put them there does not matter: each file is proven by its digest before it is used."""

    model_config = rules(_STORE_RULES[0])

    uri: CopiesUri
    s3: ObjectStore | None = None
    secret_ref: Annotated[LocalRef | None, _SECRET] = None


class CopyTo(ApiModel):
    """A bucket that finished models are copied to, each into the folder `sha256-<digest>` below the uri."""

    uri: BucketUri
    s3: ObjectStore | None = None
    secret_ref: Annotated[
        LocalRef,
        Field(
            description="The Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if there is one, AWS_SESSION_TOKEN of"
            " somebody who may list, read and write below the uri. Only the pod that copies is given them."
        ),
    ]


class RowFormat(StrEnum):
    """What a row looks like. Each row is recognised by its fields where the format is not named."""

    MESSAGES = "Messages"
    PROMPT_COMPLETION = "PromptCompletion"
    INPUT_OUTPUT = "InputOutput"
    INSTRUCTION = "Instruction"
    TEXT = "Text"


class DataSource(ApiModel):
    """A file of rows: JSON Lines (.jsonl, .jsonl.gz), CSV or Parquet; in a bucket also all such files below a prefix."""

    model_config = rules(*_STORE_RULES)

    name: Name
    uri: DataUri
    format: RowFormat | None = None
    s3: ObjectStore | None = None
    secret_ref: Annotated[LocalRef | None, _SECRET] = None


class TrainSource(DataSource):
    """A file of rows to train on. With weights, a source is that share of the training rows."""

    weight_percent: Annotated[int, Field(ge=1, le=100)] | None = None


class Mixing(StrEnum):
    """How weights are met. Subsample leaves rows out and takes none twice; Repeat takes all, and some again."""

    SUBSAMPLE = "Subsample"
    REPEAT = "Repeat"


class SplitStrategy(StrEnum):
    """Random; Stratified: the same shares of every value of a field; Temporal: the newest rows are for the test;
    Provided: the parts come as files of their own."""

    RANDOM = "Random"
    STRATIFIED = "Stratified"
    TEMPORAL = "Temporal"
    PROVIDED = "Provided"


class Split(ApiModel):
    """How rows are divided. The test part is never seen by training, nor by anything that stops or chooses it.

    A part of 0 percent is left out; one that is asked for and would have fewer rows than its minimum is an error.
    """

    model_config = rules(
        rule(
            "self.trainPercent + self.validationPercent + self.testPercent == 100",
            "trainPercent, validationPercent and testPercent must add up to 100",
        ),
        rule(
            "has(self.field) == (self.strategy == 'Stratified' || self.strategy == 'Temporal')",
            "field names the rows' field that Stratified and Temporal go by: they need it, the other strategies do not",
        ),
        rule(
            "self.strategy != 'Provided' || (self.trainPercent == 80 && self.validationPercent == 10"
            " && self.testPercent == 10)",
            "with strategy Provided the files are the parts: leave the percentages out",
        ),
    )

    strategy: SplitStrategy = SplitStrategy.RANDOM
    field: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    train_percent: Annotated[int, Field(ge=1, le=100)] = 80
    validation_percent: Annotated[int, Field(ge=0, le=99)] = 10
    test_percent: Annotated[int, Field(ge=0, le=99)] = 10
    seed: Annotated[int, Field(ge=0, le=4294967295)] = 7
    min_validation_rows: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    min_test_rows: Annotated[int, Field(ge=0, le=1_000_000)] = 100


class RowEnding(StrEnum):
    """EndOfSequence ends each row with the model's end token; Newline makes rows the lines of a running text."""

    END_OF_SEQUENCE = "EndOfSequence"
    NEWLINE = "Newline"


class NearDuplicatesAction(StrEnum):
    DROP = "Drop"
    KEEP = "Keep"


class NearDuplicates(ApiModel):
    """Rows whose question and whose answer are both nearly those of an earlier row (Jaccard similarity of 5-grams)."""

    action: NearDuplicatesAction = NearDuplicatesAction.DROP
    similarity_percent: Annotated[int, Field(ge=70, le=100)] = 90


class Cleaning(ApiModel):
    """Which rows are left out. Unparsable, empty, incomplete and identical ones always are."""

    min_tokens: Annotated[int, Field(ge=1, le=100_000)] = 1
    languages: Annotated[
        list[Annotated[str, Field(min_length=2, max_length=3, pattern="^[a-z]+$")]],
        Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    near_duplicates: NearDuplicates = NearDuplicates()


class LossOn(StrEnum):
    """Completions: everything that the assistant says; LastCompletion: its last turn; AllTokens: questions as well."""

    COMPLETIONS = "Completions"
    LAST_COMPLETION = "LastCompletion"
    ALL_TOKENS = "AllTokens"


class Packing(StrEnum):
    """Isolated: several whole rows share a sequence, and none attends to another; None: one row a sequence."""

    ISOLATED = "Isolated"
    NONE = "None"


class TooLong(StrEnum):
    """What becomes of a row of more than maxSequenceLength tokens: it is left out, or loses its end."""

    DROP = "Drop"
    TRUNCATE = "Truncate"


class OverlapAction(StrEnum):
    """Refuse: the job does not train; Drop: training rows that an evaluation set has as well are left out."""

    REFUSE = "Refuse"
    DROP = "Drop"


class OverlapBound(ApiModel):
    """How much of a gate's data set may be among the rows that are learned."""

    action: OverlapAction = OverlapAction.REFUSE
    max_percent: Percent = 1


class Data(ApiModel):
    """What to learn from. `lossOn` is Completions and `packing` Isolated, unless rowEnding is Newline."""

    model_config = rules(
        rule(
            "self.train.all(s, has(s.weightPercent)) ? self.train.map(s, s.weightPercent).sum() == 100"
            " : !self.train.exists(s, has(s.weightPercent))",
            "weightPercent must be given for every source of train or for none, and add up to 100",
        ),
        rule(
            "!has(self.mixing) || self.train.exists(s, has(s.weightPercent))",
            "mixing says how weights are met: give every source of train a weightPercent",
        ),
        rule(
            "self.rowEnding != 'Newline' || (!has(self.lossOn) && !has(self.packing) && self.tooLong == 'Drop')",
            "with rowEnding Newline rows are the lines of one running text that is learned whole: leave lossOn, packing"
            " and tooLong out",
        ),
        rule(
            "(self.split.strategy == 'Provided') == (size(self.validation) > 0 || size(self.test) > 0)",
            "validation and test are the files of split.strategy Provided, which needs at least one of them",
        ),
    )

    train: Annotated[list[TrainSource], list_map("name", 32), Field(min_length=1)]
    mixing: Mixing | None = None
    validation: Annotated[list[DataSource], list_map("name", 32)] = []
    test: Annotated[list[DataSource], list_map("name", 32)] = []
    split: Split = Split()
    cleaning: Cleaning = Cleaning()
    row_ending: RowEnding = RowEnding.END_OF_SEQUENCE
    loss_on: LossOn | None = None
    packing: Packing | None = None
    too_long: TooLong = TooLong.DROP
    overlap: OverlapBound = OverlapBound()

    def sources(self) -> list[DataSource]:
        """Every file that Prepare reads, of all parts."""
        return [*self.train, *self.validation, *self.test]
