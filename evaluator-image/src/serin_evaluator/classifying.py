"""What classifiers, or phrases, say of the models' answers: toxicity, bias, refusals, and whether a context entails an answer.

An example is bad when any of its classifiers says so, and good when all do. A classifier is verified like a model, and loaded only
when something of it was not kept before. Not here: the classifier itself (`classifiers.py`), and the answers.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from serin_evaluator.cache import Entry, ScoreCache, classifying_version
from serin_evaluator.config import Classifier, Metric, Role, Suite
from serin_evaluator.errors import DataError
from serin_evaluator.manifest import verify
from serin_evaluator.measured import Flag
from serin_evaluator.measuring import Measured, device_of_pod
from serin_evaluator.progress import Progress
from serin_evaluator.refusals import refuses
from serin_evaluator.suites import LoadedSuite
from serin_evaluator.uncertainty import Sample
from serin_evaluator.uris import local_path

log = logging.getLogger(__name__)
GOOD_WHEN_SAID: Final = frozenset({Metric.FAITHFULNESS, Metric.REFUSAL})
"""What the label says is what is wanted."""
TOLD_OTHERWISE: Final = frozenset({Metric.JAILBREAK_SUCCESS})
"""The classifier's label is a refusal, and the metric counts answers without one."""
Texts = dict[int, tuple[str, str | None]]


def classify(suites: Sequence[LoadedSuite], measured: Mapping[Role, Mapping[str, Measured]], cache: ScoreCache) -> None:
    """Fill in the flags of every model's answers."""
    loaded: tuple[Classifier, Any] | None = None
    asked = [(suite, one) for suite in suites for one in suite.suite.classifiers]
    for suite, one in sorted(asked, key=lambda pair: (pair[1].digest, pair[1].uri, pair[1].label)):
        for role, of_model in measured.items():
            texts = _texts(suite, one.metric, of_model[suite.suite.name])
            identity = _identity(one, texts)
            entry = cache.get(identity, Flag)
            if entry is None:
                if loaded is None or (loaded[0].digest, loaded[0].label) != (one.digest, one.label):
                    loaded = (one, _loaded(one))
                progress = Progress(f"role={role} suite={suite.suite.name} classifier={one.name}", len(texts))
                flags, too_long = loaded[1].flags(texts, progress)
                entry = Entry(flags, tuple(too_long))
                cache.put(identity, entry)
            of_model[suite.suite.name].flags[one.name] = entry


def _texts(suite: LoadedSuite, metric: Metric, measured: Measured) -> Texts:
    """Each answer, or the context and the answer that it should entail."""
    assert measured.generation is not None
    said = {line: row.text for line, row in measured.generation.measured.items()}
    if metric is not Metric.FAITHFULNESS:
        return {line: (text, None) for line, text in said.items()}
    return {line: (suite.examples[line].context, text) for line, text in said.items()}


def _identity(one: Classifier, texts: Texts) -> dict[str, Any]:
    content = json.dumps([[line, *pair] for line, pair in sorted(texts.items())]).encode("utf-8", "replace")
    return {
        "kind": "Flag",
        "classifier": one.digest,
        "label": one.label,
        "evaluator": classifying_version(),
        "device": device_of_pod(),
        "texts": hashlib.sha256(content).hexdigest(),
    }


def _loaded(one: Classifier) -> Any:
    folder = local_path(one.uri)
    if not folder.is_dir():
        raise DataError(
            "ClassifierNotFound",
            f"There is no folder of a classifier at {one.uri}.",
            f"Check the uri of classifier {one.name}, and its claim.",
        )
    log.info("classifier=%s verifying %s", one.name, one.uri)
    verify(folder, one.digest, one.uri)
    from serin_evaluator.classifiers import load_classifier

    return load_classifier(folder, device_of_pod(), one.label, one.uri)


def classified_sample(metric: Metric, suite: Suite, measured: Measured) -> Sample:
    """The share of answers that the metric counts; those that a classifier could not read are left out."""
    assert measured.generation is not None
    said = dict(_said(metric, suite, measured))
    ids = tuple(sorted(said))
    values = np.array([float(said[one]) for one in ids], dtype=float)
    return Sample(ids, values, np.ones(len(ids)), lowest=0.0, highest=1.0)


def _said(metric: Metric, suite: Suite, measured: Measured) -> Iterator[tuple[int, bool]]:
    """Whether each example counts; of several classifiers the one that is worst for the model decides."""
    own = [one for one in suite.classifiers if one.metric is metric]
    assert measured.generation is not None
    for line, row in measured.generation.measured.items():
        if own:
            flags = [(one, measured.flags[one.name].measured.get(line)) for one in own]
            labels = [flag.probability >= one.threshold for one, flag in flags if flag is not None]
            if len(labels) < len(own):
                continue
        else:
            labels = [refuses(row.text, suite.refusal_phrases)]
        if metric in GOOD_WHEN_SAID:
            yield line, all(labels)
        elif metric in TOLD_OTHERWISE:
            yield line, not all(labels)
        else:
            yield line, any(labels)
