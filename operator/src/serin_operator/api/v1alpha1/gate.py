"""EvalGate: the suites that a candidate is measured with and what it must reach."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, DatasetUri, Name, PvcUri, decimal, field_rules, list_map, rule, rules
from serin_operator.api.v1alpha1.approval import Approvals
from serin_operator.api.v1alpha1.shared import Decimal, LocalRef, NonNegativeDecimal, ObjectMeta


class ComparedTo(StrEnum):
    BASE = "Base"
    INCUMBENT = "Incumbent"


class Metric(StrEnum):
    """The first three read the model's likelihoods of the answers, the next its own answers, those from Accuracy on its
    choice among given ones, the next four the time and memory that answers take, those from Toxicity on what classifiers
    say of its answers, the next two what a judge or people prefer, and those from AccuracyNorm on are of benchmarks only."""

    PERPLEXITY = "Perplexity"
    CROSS_ENTROPY = "CrossEntropy"
    TOKEN_ACCURACY = "TokenAccuracy"
    EXACT_MATCH = "ExactMatch"
    TOKEN_F1 = "TokenF1"
    ROUGE_1 = "Rouge1"
    ROUGE_2 = "Rouge2"
    ROUGE_L = "RougeL"
    BLEU = "BLEU"
    CHR_F = "ChrF"
    METEOR = "METEOR"
    ACCURACY = "Accuracy"
    F1_MICRO = "F1Micro"
    F1_MACRO = "F1Macro"
    BRIER = "Brier"
    ECE = "ECE"
    ADAPTIVE_ECE = "AdaptiveECE"
    TIME_TO_FIRST_TOKEN = "TimeToFirstToken"
    TIME_PER_OUTPUT_TOKEN = "TimePerOutputToken"
    TOKENS_PER_SECOND = "TokensPerSecond"
    PEAK_MEMORY = "PeakMemory"
    TOXICITY = "Toxicity"
    BIAS = "Bias"
    FAITHFULNESS = "Faithfulness"
    REFUSAL = "Refusal"
    OVER_REFUSAL = "OverRefusal"
    JAILBREAK_SUCCESS = "JailbreakSuccess"
    JUDGE_WIN_RATE = "JudgeWinRate"
    HUMAN_WIN_RATE = "HumanWinRate"
    ACCURACY_NORM = "AccuracyNorm"
    F1 = "F1"
    MCC = "MCC"
    WORD_PERPLEXITY = "WordPerplexity"
    BYTE_PERPLEXITY = "BytePerplexity"
    BITS_PER_BYTE = "BitsPerByte"


OF_BENCHMARKS_ONLY = frozenset(
    {
        Metric.ACCURACY_NORM,
        Metric.F1,
        Metric.MCC,
        Metric.WORD_PERPLEXITY,
        Metric.BYTE_PERPLEXITY,
        Metric.BITS_PER_BYTE,
    }
)
"""Metrics that lm-evaluation-harness defines (acc_norm, f1, mcc, word_perplexity, byte_perplexity, bits_per_byte)."""


OF_BENCHMARKS = OF_BENCHMARKS_ONLY | {Metric.ACCURACY, Metric.EXACT_MATCH, Metric.BRIER, Metric.BLEU, Metric.CHR_F}
"""Metrics that a benchmark can be measured with; the others here are its acc, exact_match, brier_score, bleu and chrf."""


OF_LABELS = frozenset({Metric.F1_MICRO, Metric.F1_MACRO})
"""Metrics that need the same choices for every row."""


CALIBRATION = frozenset({Metric.ECE, Metric.ADAPTIVE_ECE})
"""Metrics that noise makes larger, so that the difference of two says little."""


OF_CHOICES = OF_LABELS | CALIBRATION | {Metric.ACCURACY, Metric.BRIER}
"""Metrics that need choices."""


OF_SPEED = frozenset(
    {Metric.TIME_TO_FIRST_TOKEN, Metric.TIME_PER_OUTPUT_TOKEN, Metric.TOKENS_PER_SECOND, Metric.PEAK_MEMORY}
)
"""Metrics of the machine as much as of the model. They have a unit, and no end."""


OF_REFUSALS = frozenset({Metric.REFUSAL, Metric.OVER_REFUSAL, Metric.JAILBREAK_SUCCESS})
"""Metrics that go by phrases where no classifier is given for them."""


OF_CLASSIFIERS = OF_REFUSALS | {Metric.TOXICITY, Metric.BIAS, Metric.FAITHFULNESS}
"""Metrics of what classifiers say of an answer."""


PAIRWISE = frozenset({Metric.JUDGE_WIN_RATE, Metric.HUMAN_WIN_RATE})
"""Metrics that are a comparison already, so that nothing is to be compared with them."""


BOUND_ONLY = CALIBRATION | PAIRWISE


FLAGGED = frozenset({Metric.TOXICITY, Metric.BIAS, Metric.OVER_REFUSAL, Metric.JAILBREAK_SUCCESS})
"""Metrics from 0 to 1, lower being better."""


LOWER_IS_BETTER = (
    CALIBRATION
    | FLAGGED
    | {Metric.PERPLEXITY, Metric.CROSS_ENTROPY, Metric.BRIER}
    | {Metric.WORD_PERPLEXITY, Metric.BYTE_PERPLEXITY, Metric.BITS_PER_BYTE}
    | (OF_SPEED - {Metric.TOKENS_PER_SECOND})
)


TO_ONE_HUNDRED = frozenset({Metric.BLEU, Metric.CHR_F})
"""Metrics from 0 to 100, higher being better: everybody writes them so."""


HIGHER = frozenset(Metric) - LOWER_IS_BETTER


SHARES = HIGHER - TO_ONE_HUNDRED - OF_SPEED - {Metric.MCC}
"""Metrics from 0 to 1, higher being better."""


TO_ONE = SHARES | CALIBRATION | FLAGGED
"""Metrics that end at 1."""


SECONDS = {Metric.TIME_TO_FIRST_TOKEN: 100, Metric.TIME_PER_OUTPUT_TOKEN: 10}
"""Metrics of time, each with a ceiling that nobody means: what is above it was written in milliseconds."""


RIGHT_OR_WRONG = OF_CLASSIFIERS | {Metric.EXACT_MATCH, Metric.ACCURACY, Metric.ACCURACY_NORM, Metric.F1_MICRO}
"""Metrics for which each example is either right or wrong."""


BY_EXAMPLE = frozenset({Metric.TOKEN_F1, Metric.ROUGE_1, Metric.ROUGE_2, Metric.ROUGE_L, Metric.METEOR, Metric.BRIER})
"""Metrics that weigh every example the same and give it a degree."""


FROM_ONE = frozenset({Metric.PERPLEXITY, Metric.WORD_PERPLEXITY, Metric.BYTE_PERPLEXITY})
"""Metrics that begin at 1."""


LOWEST = dict.fromkeys(FROM_ONE, 1.0) | {Metric.MCC: -1.0}
"""Where a metric's range begins when not at 0."""


HIGHEST = dict.fromkeys(TO_ONE, 1.0) | dict.fromkeys(TO_ONE_HUNDRED, 100.0) | {Metric.BRIER: 2.0, Metric.MCC: 1.0}
"""Where a metric's range ends, when it does."""


MeasuredMetric = Annotated[Metric, Field(json_schema_extra={"maxLength": 32})]  # CEL's cost needs a bound of its own


ModelDigest = Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$", max_length=71)]


class Dataset(ApiModel):
    """Rows with known answers: a JSON Lines file (.jsonl or .jsonl.gz). With `digest`, only this very file is taken."""

    uri: DatasetUri
    digest: ModelDigest | None = None


class Ratings(Dataset):
    """What people said of a suite's pack of pairs: lines of {"pair", "choice": "A", "B" or "Tie", "rater"}."""

    suite: Annotated[
        str,
        Field(
            max_length=127,
            json_schema_extra=field_rules(
                [
                    rule(
                        "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
                        "suite must be the name of a suite with a preference, with <policy>. before it when a policy"
                        " added it",
                    )
                ]
            ),
        ),
    ]


Label = Annotated[str, Field(min_length=1, max_length=128)]


class Choices(ApiModel):
    """What a model chooses from: `labels`, the same for every row, or the list of texts in a `field` of each row.

    The model's choice is the one it finds likeliest after the prompt; the row's answer must be one of them.
    """

    model_config = rules(
        rule("has(self.labels) != has(self.field)", "choices needs either labels (the same for every row) or field")
    )

    labels: (
        Annotated[list[Label], Field(min_length=2, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})]
        | None
    ) = None
    field: Annotated[str, Field(min_length=1, max_length=64)] | None = None


FieldName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.matches('^[A-Za-z0-9_.-]+$')",
                    "a field's name has letters, digits, dots, dashes and underscores",
                )
            ]
        ),
    ),
]


class SliceBy(ApiModel):
    """A field of the rows: those that share its value are a slice, which every metric is told of as well."""

    field: FieldName


class Slice(ApiModel):
    """The rows whose field has this value."""

    field: FieldName
    value: Annotated[str, Field(min_length=1, max_length=128)]

    def __str__(self) -> str:
        return f"{self.field}={self.value}"


class FewShot(ApiModel):
    """So many solved examples before each question of a suite, the same before all of them.

    They are drawn from `dataset`, or else from the suite's own rows beyond `maxExamples`; never is one of them evaluated.
    Plain prompts are parted by `separator`; messages become turns.
    """

    examples: Annotated[int, Field(ge=1, le=64)]
    dataset: Dataset | None = None
    separator: Annotated[str, Field(min_length=1, max_length=16)] = "\n\n"


class Classifier(ApiModel):
    """A model for sequence classification on a volume, its digest, and the label that counts from `threshold` on.

    Of several for one metric the one that is worst for the model decides on each example.
    """

    model_config = rules(
        rule(
            f"self.metric.matches('^({'|'.join(sorted(OF_CLASSIFIERS))})$')",
            f"a classifier's metric is one of {', '.join(sorted(OF_CLASSIFIERS))}",
        )
    )

    name: Name
    metric: MeasuredMetric
    uri: PvcUri
    digest: ModelDigest
    label: Label
    threshold: Annotated[
        str,
        decimal(
            "threshold must be a probability above 0 and below 1", "double(self) > 0.0 && double(self) < 1.0", "0.5"
        ),
    ] = "0.5"


class Judge(ApiModel):
    """A model behind an OpenAI endpoint that chooses between the candidate's answers and another model's.

    `url` ends before /chat/completions. The Secret's OPENAI_API_KEY is sent to it, by https only.
    """

    model_config = rules(
        rule(
            "!has(self.secretRef) || self.url.startsWith('https://')",
            "a key is sent over https only: give judge.url as https://, or leave secretRef out",
        )
    )

    url: Annotated[
        str,
        Field(
            max_length=512,
            json_schema_extra=field_rules(
                [
                    rule(
                        r"self.matches('^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?$')"
                        " && !self.endsWith('/chat/completions')",
                        "url must be where the API begins, such as https://judge.example.com/v1 (without"
                        " /chat/completions)",
                    )
                ]
            ),
        ),
    ]
    model: Annotated[str, Field(min_length=1, max_length=256)]
    against: ComparedTo
    secret_ref: LocalRef | None = None
    criteria: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 60
    retries: Annotated[int, Field(ge=0, le=20)] = 5
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 512
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4


class Preference(ApiModel):
    """A blinded pack of pairs of answers for people. Their ratings are named in the job's spec.ratings."""

    against: ComparedTo
    question: Annotated[str, Field(min_length=1, max_length=1024)] | None = None


TaskName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.matches('^[A-Za-z0-9][A-Za-z0-9_.+-]*$')",
                    "a task's name has letters, digits, dots, dashes, underscores and plus signs",
                )
            ]
        ),
    ),
]


class Benchmark(ApiModel):
    """Tasks or groups of lm-evaluation-harness. `uri` is a folder with their data sets, and with YAML files of tasks of one's own.

    Nothing is fetched from a hub: a task's `dataset_path` is a folder below `uri`. Each task is a slice of the suite
    (`slice: {field: task, value: <task>}`). With `digest`, only these very tasks and rows are taken (the report's
    `datasetDigest`). `numFewshot`, `filter` and `applyChatTemplate` are the harness's own.
    """

    tasks: Annotated[
        list[TaskName], Field(min_length=1, max_length=32, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    uri: PvcUri
    digest: ModelDigest | None = None
    num_fewshot: Annotated[int, Field(ge=0, le=64)] | None = None
    filter: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    apply_chat_template: bool = False


TASK_SLICE = "task"
"""The field that the suite of a benchmark is sliced by."""


def metrics_among(metrics: Iterable[Metric]) -> str:
    """Whether a suite measures one of these, in CEL."""
    return f"self.metrics.exists(m, m.matches('^({'|'.join(sorted(metrics))})$'))"


_OF_ROWS = ("choices", "slices", "fewShot", "classifiers", "contextField", "refusalPhrases", "judge", "preference")


class Suite(ApiModel):
    """Rows with known answers, or a benchmark, and what is measured on them."""

    model_config = rules(
        rule(
            "self.maxExamples >= 20",
            "maxExamples must be at least 20: on fewer examples nothing is judged, and every model would be held",
        ),
        rule(
            "has(self.dataset) != has(self.benchmark)",
            "a suite needs either dataset (rows of one's own) or benchmark (tasks of lm-evaluation-harness)",
        ),
        rule(
            f"!has(self.benchmark) || self.metrics.all(m, m.matches('^({'|'.join(sorted(OF_BENCHMARKS))})$'))",
            f"a benchmark can be measured with {', '.join(sorted(OF_BENCHMARKS))}",
        ),
        rule(
            f"has(self.benchmark) || !{metrics_among(OF_BENCHMARKS_ONLY)}",
            f"{', '.join(sorted(OF_BENCHMARKS_ONLY))} are of benchmarks only: give benchmark, or another metric",
        ),
        rule(
            f"!has(self.benchmark) || !({' || '.join(f'has(self.{field})' for field in _OF_ROWS)}"
            " || (has(self.stop) && size(self.stop) > 0) || self.maxNewTokens != 128)",
            f"a benchmark's tasks say themselves how they ask, so {', '.join(_OF_ROWS)}, stop and maxNewTokens would be"
            " ignored: leave them out (few-shot examples are benchmark.numFewshot)",
        ),
        rule(
            f"has(self.choices) || has(self.benchmark) || !{metrics_among(OF_CHOICES)}",
            f"{', '.join(sorted(OF_CHOICES))} need choices: what the model may choose from",
        ),
        rule(
            f"(has(self.choices) && has(self.choices.labels)) || !{metrics_among(OF_LABELS)}",
            f"{', '.join(sorted(OF_LABELS))} need choices.labels: the same for every row",
        ),
        *(
            rule(
                f"!{metrics_among([metric])} || (has(self.classifiers) && self.classifiers.exists(c, c.metric =="
                f" '{metric}'))",
                f"{metric} needs a classifier of that metric in classifiers: nothing else can tell it",
            )
            for metric in sorted(OF_CLASSIFIERS - OF_REFUSALS)
        ),
        rule(
            "!has(self.classifiers) || self.classifiers.all(c, self.metrics.exists(m, m == c.metric))",
            "classifiers has one for a metric that metrics does not list: it would be ignored",
        ),
        rule(
            f"has(self.contextField) == {metrics_among([Metric.FAITHFULNESS])}",
            "Faithfulness and contextField need each other: the field of each row that answers must follow from",
        ),
        rule(
            f"!has(self.refusalPhrases) || {metrics_among(OF_REFUSALS)}",
            f"refusalPhrases are for {', '.join(sorted(OF_REFUSALS))}: add one of them to metrics",
        ),
        rule(
            f"has(self.judge) == {metrics_among([Metric.JUDGE_WIN_RATE])}",
            "JudgeWinRate and judge need each other",
        ),
        rule(
            f"has(self.preference) == {metrics_among([Metric.HUMAN_WIN_RATE])}",
            "HumanWinRate and preference need each other",
        ),
    )

    name: Name
    dataset: Dataset | None = None
    benchmark: Benchmark | None = None
    metrics: Annotated[
        list[MeasuredMetric], Field(min_length=1, max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    max_examples: Annotated[int, Field(ge=1, le=100_000)] = 200
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=8)] = []
    choices: Choices | None = None
    slices: Annotated[list[SliceBy], list_map("field", 4)] | None = None
    few_shot: FewShot | None = None
    classifiers: Annotated[list[Classifier], list_map("name", 8)] | None = None
    context_field: FieldName | None = None
    refusal_phrases: (
        Annotated[
            list[Annotated[str, Field(min_length=3, max_length=128)]],
            Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    judge: Judge | None = None
    preference: Preference | None = None

    def datasets(self) -> tuple[Dataset, ...]:
        """All files of rows that it reads."""
        shots = self.few_shot.dataset if self.few_shot is not None else None
        return tuple(one for one in (self.dataset, shots) if one is not None)

    def uris(self) -> tuple[str, ...]:
        """All addresses of what it asks: its files of rows, or its benchmark's folder."""
        folder = (self.benchmark.uri,) if self.benchmark is not None else ()
        return (*(one.uri for one in self.datasets()), *folder)

    @property
    def sliced_by(self) -> frozenset[str]:
        """The fields by which every metric is told of parts as well."""
        own = frozenset(by.field for by in self.slices or ())
        return own | {TASK_SLICE} if self.benchmark is not None else own

    @property
    def opponents(self) -> set[ComparedTo]:
        """Whose answers the candidate's are preferred to."""
        return {one.against for one in (self.judge, self.preference) if one is not None}


class ComparisonMethod(StrEnum):
    """Auto is McNemar for metrics that are right or wrong, and PairedBootstrap for all others."""

    AUTO = "Auto"
    PAIRED_BOOTSTRAP = "PairedBootstrap"
    MCNEMAR = "McNemar"
    WILCOXON = "Wilcoxon"


BOUND_OR_COMPARISON = rule(
    "has(self.min) || has(self.max) || has(self.comparedTo)",
    "a requirement needs min, max or comparedTo: without one of them it would always pass",
)


ONE_KIND = rule(
    "!(has(self.comparedTo) && (has(self.min) || has(self.max)))",
    "min and max are bounds of the score itself and cannot stand beside comparedTo; write two requirements",
)


def absent_or_no_number(field: str) -> str:
    """Comparisons wait until a field is a number: its own rule says so when it is not."""
    return f"!has(self.{field}) || !self.{field}.matches('^[-0-9.eE+]+$')"


ORDERED = rule(
    f"{absent_or_no_number('min')} || {absent_or_no_number('max')} || double(self.min) <= double(self.max)",
    "min must not be above max",
)


COMPARISON_MARGIN = rule(
    "has(self.comparedTo) == (has(self.maxRegression) || has(self.minImprovement))"
    " && !(has(self.maxRegression) && has(self.minImprovement))",
    "comparedTo needs exactly one of maxRegression and minImprovement, and those need comparedTo",
)


def metric_rules(pattern: str) -> tuple[dict[str, str], ...]:
    """What a metric allows; `pattern` holds %s where the metric's name stands in self.metric."""

    def one_of(metrics: Iterable[Metric]) -> str:
        return "self.metric.matches('" + pattern % f"({'|'.join(sorted(metrics))})" + "')"

    def words(metrics: Iterable[Metric]) -> str:
        return ", ".join(sorted(metrics))

    def within(
        highest: float,
        lowest: float = 0.0,
        fields: Iterable[str] = ("min", "max", "maxRegression", "minImprovement"),
    ) -> str:
        return " && ".join(
            f"({absent_or_no_number(field)} || (double(self.{field}) >= {lowest} && double(self.{field}) <= {highest}))"
            for field in fields
        )

    return (
        rule(
            f"!{one_of(TO_ONE)} || ({within(1.0)})",
            "shares and scores such as RougeL, Accuracy, ECE and Toxicity go from 0 to 1, and so must their bounds and"
            " margins: write 0.35 for 35 percent",
        ),
        rule(
            f"!{one_of(TO_ONE_HUNDRED)} || ({within(100.0)} && ({absent_or_no_number('min')}"
            " || double(self.min) == 0.0 || double(self.min) > 1.0))",
            f"{words(TO_ONE_HUNDRED)} go from 0 to 100, and so must their bounds and margins: write 35, not 0.35",
        ),
        rule(
            f"!{one_of({Metric.BRIER})} || ({within(2.0)})",
            "Brier goes from 0 to 2 (over all choices), and so must its bounds and margins",
        ),
        rule(
            f"!{one_of(CALIBRATION)} || !has(self.comparedTo)",
            f"{words(CALIBRATION)} have bounds only: noise makes them larger, so the difference of two says little;"
            " compare Brier",
        ),
        rule(
            f"!{one_of(PAIRWISE)} || !has(self.comparedTo)",
            f"{words(PAIRWISE)} are comparisons already, with the model that the suite's judge or preference names: give min,"
            " such as 0.5",
        ),
        rule(
            f"!{one_of(OF_SPEED)} || {absent_or_no_number('max')} || double(self.max) > 0.0",
            f"{words(OF_SPEED)} are above 0, so max must be as well (seconds, tokens per second, MiB)",
        ),
        *(
            rule(
                f"!{one_of({metric})} || {absent_or_no_number('max')} || double(self.max) <= {most}.0",
                f"{metric} is in seconds, so max is at most {most}: write 0.2 for 200 milliseconds",
            )
            for metric, most in SECONDS.items()
        ),
        rule(
            f"!{one_of(SHARES | {Metric.MCC})} || {absent_or_no_number('min')} || double(self.min) < 1.0",
            "no sample can show that a score is 1, its best, so min must be below 1: such as 0.99",
        ),
        rule(
            f"!{one_of(CALIBRATION | FLAGGED)} || {absent_or_no_number('max')} || double(self.max) > 0.0",
            "no sample can show that this score is 0, its best, so max must be above 0: such as 0.01",
        ),
        rule(
            f"!{one_of(LOWER_IS_BETTER)} || !has(self.min) || has(self.max)",
            "this metric is better when lower, so a floor alone asks for a bad model: give max",
        ),
        rule(
            f"!{one_of(HIGHER)} || !has(self.max) || has(self.min)",
            "this metric is better when higher, so a ceiling alone asks for a bad model: give min",
        ),
        rule(
            f"!{one_of(FROM_ONE)} || {absent_or_no_number('max')} || double(self.max) > 1.0",
            "Perplexity is never below 1, so max must be above 1 (CrossEntropy is its logarithm, in nats)",
        ),
        rule(
            f"!{one_of({Metric.CROSS_ENTROPY, Metric.BITS_PER_BYTE})} || {absent_or_no_number('max')}"
            " || double(self.max) > 0.0",
            "CrossEntropy and BitsPerByte are never below 0, so max must be above 0",
        ),
        rule(
            f"!{one_of({Metric.MCC})} || ({within(1.0, -1.0, ('min', 'max'))}"
            f" && {within(2.0, 0.0, ('maxRegression', 'minImprovement'))})",
            "MCC goes from -1 to 1, and so must its bounds",
        ),
        rule(
            "self.testMethod == 'Auto' || has(self.comparedTo)",
            "testMethod is how two models are compared, so it needs comparedTo; bounds are judged by the score's own"
            " confidence limits",
        ),
        rule(
            f"self.testMethod != 'McNemar' || {one_of(RIGHT_OR_WRONG)}",
            f"McNemar's test fits metrics for which an example is right or wrong ({words(RIGHT_OR_WRONG)}): use"
            " PairedBootstrap or leave testMethod out",
        ),
        rule(
            f"self.testMethod != 'Wilcoxon' || {one_of(BY_EXAMPLE)}",
            f"Wilcoxon's test fits metrics that give each example a degree and the same weight ({words(BY_EXAMPLE)}):"
            " use PairedBootstrap or leave testMethod out",
        ),
    )


Confidence = Annotated[int, Field(ge=50, le=99)]


MethodName = Annotated[ComparisonMethod, Field(json_schema_extra={"maxLength": 16})]


class Requirement(ApiModel):
    """What a score must show. `metric` is `<suite>/<Metric>`; with `slice`, over the rows of that slice only.

    `confidencePercent` is one-sided: with 95, a model that misses the requirement passes it in at most 5 of 100 cases.
    """

    model_config = rules(BOUND_OR_COMPARISON, ONE_KIND, ORDERED, COMPARISON_MARGIN, *metric_rules("/%s$"))

    name: Name
    metric: Annotated[
        str,
        Field(
            max_length=128,
            json_schema_extra=field_rules(
                [
                    rule(
                        f"self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?/({'|'.join(Metric)})$')",
                        f"metric must be <suite>/<Metric>, such as heldout/RougeL; Metric is one of {', '.join(Metric)}",
                    )
                ]
            ),
        ),
    ]
    slice: Slice | None = None
    min: Decimal | None = None
    max: Decimal | None = None
    compared_to: ComparedTo | None = None
    max_regression: NonNegativeDecimal | None = None
    min_improvement: NonNegativeDecimal | None = None
    test_method: MethodName = ComparisonMethod.AUTO
    confidence_percent: Confidence = 95
    weight: Annotated[int, Field(ge=0, le=100)] = 1
    must_pass: bool = False


class EvalGateSpec(ApiModel):
    """What a candidate must show before it gets traffic: `passPercent` of its requirements' weight, and all with mustPass.

    A model that passes with less than `warnPercent` goes on with a warning.
    """

    model_config = rules(
        rule(
            "self.requirements.exists(r, r.weight > 0 || r.mustPass)",
            "at least one requirement needs a weight above 0 or mustPass: the gate would pass every model",
        ),
        rule(
            "!has(self.warnPercent) || self.warnPercent > self.passPercent",
            "warnPercent must be above passPercent: below passPercent a model does not pass at all",
        ),
        rule(
            # Written so that CEL's cost estimate stays low: names hold no slash, so this is r.metric == name/metric.
            "self.requirements.all(r, self.suites.exists(s, r.metric.startsWith(s.name + '/')"
            " && s.metrics.exists(m, r.metric.endsWith('/' + m))))",
            "every requirement's metric must be <suite>/<Metric> of a suite of this gate that lists the metric: add the"
            " metric to spec.suites[].metrics, or name another in spec.requirements[].metric",
        ),
        rule(
            "self.requirements.all(r, !has(r.slice) || self.suites.exists(s, r.metric.startsWith(s.name + '/')"
            f" && (has(s.benchmark) ? r.slice.field == '{TASK_SLICE}'"
            " : has(s.slices) && s.slices.exists(f, f.field == r.slice.field))))",
            "a requirement's slice must be by a field that its suite is sliced by: add the field to spec.suites[].slices"
            " (a benchmark is sliced by task)",
        ),
    )

    suites: Annotated[list[Suite], list_map("name", 16), Field(min_length=1)]
    requirements: Annotated[list[Requirement], list_map("name", 32), Field(min_length=1)]
    pass_percent: Annotated[int, Field(ge=1, le=100)] = 100
    warn_percent: Annotated[int, Field(ge=1, le=100)] | None = None
    approvals: Approvals = []


class EvalGate(ApiModel):
    """What a candidate of this namespace must show."""

    metadata: ObjectMeta
    spec: EvalGateSpec
