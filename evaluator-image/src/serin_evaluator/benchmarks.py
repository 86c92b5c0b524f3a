"""Benchmarks: tasks of lm-evaluation-harness as suites. The harness reads them, writes their prompts, filters answers and scores
rows; which rows are asked, the model's answers and all statistics are ours.

Each task is a slice of its suite, and so is each group. Nothing is fetched: rows come from the benchmark's folder.
Not here: what a task's file may say (`taskfiles.py`), what a group's says of its figures (`benchmark_groups.py`), asking a model
(`harness.py`), intervals (`benchmark_metrics.py`).
"""

import hashlib
import json
import logging
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from serin_evaluator.benchmark_groups import Group, Said, described, group_of
from serin_evaluator.benchmark_metrics import AGGREGATIONS, NAMES, POOLED, Unfit, value_sample
from serin_evaluator.cache import Entry
from serin_evaluator.config import Benchmark, Metric, Slice, Suite
from serin_evaluator.errors import DataError
from serin_evaluator.measured import Choice, Generation
from serin_evaluator.metrics import LOWER_IS_BETTER
from serin_evaluator.suites import Example, LoadedSuite
from serin_evaluator.sums import Sums
from serin_evaluator.task_index import Mentions, index_of, missing_in
from serin_evaluator.taskfiles import Folder, Rows, check_yaml, digest_of, refuse, rows_of, unknown
from serin_evaluator.uncertainty import AnySample, Sample, Several
from serin_evaluator.uris import local_path

log = logging.getLogger(__name__)
TASK: Final = "task"
_SEED: Final = 1234
"""The harness's own seed for few-shot examples, so that prompts are those of its command line."""
_SAID_OF_ANSWERS: Final = frozenset(
    {"until", "max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens", "do_sample", "temperature", "top_p", "top_k"}
)  # fmt: skip
ChatTemplate = Callable[..., str]


@dataclass
class Task:
    """One task: what the harness made of its file, and which of its rows are asked."""

    name: str
    made: Any
    groups: tuple[str, ...]
    config_digest: str
    rows_digest: str
    """Of the files that hold its rows."""
    metrics: dict[Metric, str]
    """What it is asked for, and how the harness puts the rows of each together."""
    filter: str
    docs: tuple[int, ...]
    """The places of its chosen rows."""
    rows: int
    first: int
    """The number of its first example in the suite."""
    asked: dict[int, list[Any]] = field(default_factory=dict)
    """The requests of each example, without a chat template."""

    @property
    def slices(self) -> tuple[str, ...]:
        """The names that its examples are told under."""
        return (self.name, *self.groups)

    @property
    def kind(self) -> type[Choice] | type[Generation]:
        """What is measured of a model: how likely it finds texts, or what it answers."""
        return Generation if self.made.OUTPUT_TYPE == "generate_until" else Choice

    @property
    def prompts_digest(self) -> str:
        """Of all that is asked, before any chat template."""
        asked = [[one, [request.args for request in of]] for one, of in self.asked.items()]
        return "sha256:" + hashlib.sha256(json.dumps(asked, sort_keys=True).encode("utf-8", "replace")).hexdigest()

    def requests(self, chat_template: ChatTemplate | None = None) -> dict[int, list[Any]]:
        """The harness's requests of each example; the same each time."""
        _reseed()
        self.made.set_fewshot_seed(seed=_SEED)
        with_template = {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": chat_template}
        self.made.build_all_requests(samples=set(self.docs), **(with_template if chat_template else {}))
        found: dict[int, list[Any]] = {}
        for request in self.made.instances:
            found.setdefault(self.first + request.doc_id, []).append(request)
        return {one: sorted(of, key=lambda request: request.idx) for one, of in found.items()}

    def values(self, answers: Mapping[int, Sequence[Any]]) -> dict[str, dict[int, Any]]:
        """What the harness says of each answered example, by its names of the metrics."""
        answered = {one: of for one, of in self.asked.items() if one in answers}
        for one, requests in answered.items():
            for request, answer in zip(requests, answers[one], strict=True):
                request.resps, request.filtered_resps = [answer] * request.repeats, {}
        if not answered:
            return {}
        _reseed()
        together = [request for of in answered.values() for request in of]
        next(one for one in self.made._filters if one.name == self.filter).apply(together)
        found: dict[str, dict[int, Any]] = {}
        for one, requests in answered.items():
            try:
                said = self.made.process_results(requests[0].doc, [of.filtered_resps[self.filter] for of in requests])
            except Exception as error:
                raise refuse(
                    self.name,
                    f"cannot score its row {self.docs[one - self.first]} ({type(error).__name__}: {str(error)[:200]})",
                    "Correct the row, or the task's metric and filter.",
                ) from error
            for name, value in said.items():
                found.setdefault(name, {})[one] = value
        return found


class Benchmarked:
    """The tasks of a suite."""

    def __init__(self, tasks: Sequence[Task], asked: Benchmark, groups: Mapping[str, Group]) -> None:
        self.tasks = tuple(tasks)
        self.apply_chat_template = asked.apply_chat_template
        self.groups = groups
        self._whole = asked.tasks[0] if len(asked.tasks) == 1 else None
        """The one name that was asked for: the whole suite is then what this is."""

    @property
    def kinds(self) -> list[type[Any]]:
        """What is to be measured of a model."""
        return [kind for kind in (Choice, Generation) if any(task.kind is kind for task in self.tasks)]

    def requests(self, kind: type[Any], chat_template: ChatTemplate | None) -> dict[int, list[Any]]:
        """What a model is asked, by example."""
        found: dict[int, list[Any]] = {}
        for task in self.tasks:
            if task.kind is kind:
                found |= task.requests(chat_template) if chat_template else task.asked
        return found

    def values(self, choice: Entry[Choice] | None, said: Entry[Generation] | None) -> dict[Metric, dict[int, Any]]:
        """What the harness says of each example, by metric."""
        answers: dict[int, list[Any]] = {}
        for one, row in (choice.measured if choice is not None else {}).items():
            answers[one] = self._likelihoods(one, row)
        for one, text in (said.measured if said is not None else {}).items():
            answers[one] = [text.text]
        found: dict[Metric, dict[int, Any]] = {}
        for task in self.tasks:
            of_task = task.values(answers)
            for metric in task.metrics:
                found.setdefault(metric, {}).update(of_task.get(NAMES[metric], {}))
        return found

    def _likelihoods(self, one: int, row: Choice) -> list[Any]:
        task = next(task for task in self.tasks if one in task.asked)
        if task.made.OUTPUT_TYPE == "loglikelihood_rolling":
            return list(row.log_likelihoods)
        return list(zip(row.log_likelihoods, row.greedy, strict=True))

    def sample(
        self, metric: Metric, values: Mapping[Metric, Mapping[int, Any]], part: Slice | None = None
    ) -> AnySample | None:
        """The sample of a metric over the examples of all tasks that have it, or of those of a slice; None when they have
        no such number together.

        Rows of tasks that count by size are one sample: its mean is the harness's. How far the tasks lie apart then counts
        as noise of rows, so its interval is the wider one, and it keeps exact bounds (Hoeffding 1956: unlike coins spread
        less than like ones) and McNemar's test.
        """
        if self.why_none(metric, part):
            return None
        tasks, said = self._tasks(metric, part), self._said(metric, part)
        found = values.get(metric, {})
        if said is None or len(tasks) == 1 or (said.by_size and tasks[0].metrics[metric] in POOLED):
            return _sample_of(metric, tasks, found)
        parts = [_sample_of(metric, [task], found) for task in tasks]
        return Several(tuple(one for one in parts if isinstance(one, Sample | Sums)), said.by_size)

    def why_none(self, metric: Metric, part: Slice | None) -> str:
        """Why these tasks have no such number together; empty when they have."""
        tasks, group, its = self._tasks(metric, part), self._group(part), NAMES[metric]
        if not tasks:
            return f"no task of {part.value if part else 'the suite'} has {its}"
        if group is not None and group.names(its):
            used = " and ".join(sorted({task.filter for task in tasks}))
            told = f"the group {group.name} makes its {its} of answers filtered by {group.filters(its)}, not by {used}"
            return "" if self._said(metric, part) is not None else told
        if len(tasks) == 1 or tasks[0].metrics[metric] in POOLED:
            return ""
        return (
            "each task has one (slice: {field: task, value: <task>}), and there is no such number of several together"
        )

    def _tasks(self, metric: Metric, part: Slice | None) -> list[Task]:
        return [task for task in self.tasks if metric in task.metrics and (part is None or part.value in task.slices)]

    def _group(self, part: Slice | None) -> Group | None:
        name = part.value if part is not None else self._whole
        return self.groups.get(name) if name is not None else None

    def _said(self, metric: Metric, part: Slice | None) -> Said | None:
        group = self._group(part)
        return group and group.of(NAMES[metric], (task.filter for task in self._tasks(metric, part)))


def _sample_of(metric: Metric, tasks: Sequence[Task], values: Mapping[int, Any]) -> AnySample:
    """Of all rows of these tasks."""
    rows = {one: values[one] for task in tasks for one in task.asked if one in values}
    try:
        return value_sample(metric, tasks[0].metrics[metric], rows)
    except Unfit as unfit:
        raise DataError(
            "MetricUnfit",
            f"The benchmark's {NAMES[metric]} cannot be {metric}: {unfit}.",
            "Ask for another metric.",
        ) from unfit


def harness_version() -> str:
    """Of the package that reads and scores the tasks."""
    try:
        return version("lm_eval")
    except PackageNotFoundError:
        return "0"


def load_benchmark(suite: Suite, seed: int) -> LoadedSuite:
    """Read the tasks, and choose `maxExamples` of the rows of each at random with the seed."""
    asked = suite.benchmark
    assert asked is not None
    folder = Folder(asked.uri, local_path(asked.uri), _package())
    if not folder.path.is_dir():
        raise DataError("TaskNotFound", f"There is no folder at {asked.uri}.", "Check the URI and its claim.")
    reader = _Reader(suite, asked, folder, seed)
    tasks = reader.tasks()
    examples = {example.line: example for task in tasks for example in _examples(task)}
    _every_metric_is_measured(suite, tasks)
    told: list[Any] = sorted([task.name, task.config_digest, task.rows_digest] for task in tasks)
    if reader.groups:
        told.append(described(reader.groups))
    digest = "sha256:" + hashlib.sha256(json.dumps(told).encode()).hexdigest()
    if asked.digest not in (None, digest):
        raise DataError(
            "DatasetChanged",
            f"The tasks and rows of benchmark {suite.name} at {asked.uri} have digest {digest}, but {asked.digest} was asked"
            " for.",
            "Put the files back that the suite was made with, or have the suite name the new digest.",
        )
    return LoadedSuite(
        suite=suite,
        digest=digest,
        rows=sum(task.rows for task in tasks),
        without_answer=0,
        examples=examples,
        benchmark=Benchmarked(tasks, asked, reader.groups),
    )


def _every_metric_is_measured(suite: Suite, tasks: Sequence[Task]) -> None:
    for metric in suite.metrics:
        of = {task.metrics[metric]: task.name for task in tasks if metric in task.metrics}
        if not of:
            raise DataError(
                "MetricUnfit",
                f"No task of suite {suite.name} has {metric} ({NAMES[metric]}).",
                "Take it out of metrics, or add a task that has it.",
            )
        if len(of) > 1:
            raise DataError(
                "MetricUnfit",
                f"The tasks {' and '.join(of.values())} of suite {suite.name} make one number of their {NAMES[metric]} in"
                f" different ways ({' and '.join(of)}).",
                "Give each a suite of its own.",
            )


def _examples(task: Task) -> Iterator[Example]:
    """The rows as the report shows them."""
    slices = tuple(Slice(field=TASK, value=name) for name in task.slices)
    for one, requests in task.asked.items():
        contexts = [request.args[0] for request in requests]
        doc = requests[0].doc
        if task.made.OUTPUT_TYPE == "loglikelihood_rolling":
            yield Example(one, "", (), contexts[0], slices=slices)
            continue
        choices: tuple[str, ...] = ()
        if task.kind is Choice:
            same = [request.args[1] for request in requests if request.args[0] == contexts[0]]
            choices = tuple(same if len(same) > 1 or len(requests) == 1 else contexts)
        right = task.made.doc_to_text(doc) if task.made.multiple_input else task.made.doc_to_target(doc)
        shown = choices[right] if isinstance(right, int) and 0 <= right < len(choices) else right
        yield Example(one, contexts[0], (), str(shown), choices, slices=slices)


class _Reader:
    """Reads the tasks of one suite."""

    def __init__(self, suite: Suite, asked: Benchmark, folder: Folder, seed: int) -> None:
        self._suite, self._asked, self._folder, self._seed = suite, asked, folder, seed
        self._digests: dict[str, tuple[str, str]] = {}
        self._names: dict[str, list[str]] = {}
        """Of the groups and tags of each task."""
        self.groups: dict[str, Group] = {}

    def tasks(self) -> list[Task]:
        manager = self._manager()
        made: dict[str, Any] = {}
        for name in self._asked.tasks:
            _reseed()
            try:
                found = manager.load([name])
            except DataError:
                raise
            except Exception as error:
                raise _unreadable(name, error) from error
            made |= found["tasks"]
            for group, of in found["groups"].items():
                self.groups[group] = group_of(of)
                for task in self.groups[group].tasks:
                    self._names.setdefault(task, []).append(group)
            if name not in found["tasks"] and name not in found["groups"]:  # a tag: all tasks that carry it
                for task in found["tasks"]:
                    self._names.setdefault(task, []).append(name)
        tasks: list[Task] = []
        first = 1
        for name, one in made.items():
            tasks.append(self._task(name, one, first))
            first += len(tasks[-1].docs)
        return tasks

    def _manager(self) -> Any:
        """The harness's reader, knowing the folder's tasks and those of its own that are asked for."""
        _prepare_library()
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=str(self._folder.path), include_defaults=False)
        index, missing = dict(manager.task_index), next(missing_in(self._asked.tasks, manager.task_index), None)
        if missing is not None and self._folder.package is not None:
            package = _mentions(self._folder.package)
            index, missing = index_of(self._asked.tasks, manager.task_index, package)
            if missing is not None:
                raise unknown(missing, package.names | index.keys(), self._asked.uri)
        manager._index, manager._factory = index, _factory(self)
        return manager

    def config_of(self, name: str, config: dict[str, Any]) -> dict[str, Any]:
        """A task's config with its rows from the folder, and only the metrics that are asked for."""
        _refuse_code(name, config)
        if callable(config.get("custom_dataset")):
            raise refuse(name, "makes its rows by code of its own, which may fetch them", "Leave the task out.")
        plain = {key: value for key, value in config.items() if key != "metadata"}
        plain["metadata"] = {key: value for key, value in config["metadata"].items() if key != "config_source"}
        rows = rows_of(name, config, self._folder)
        self._digests[name] = _digest_of(plain), digest_of(self._folder.path, rows.all_files())
        config |= {"custom_dataset": partial(_read, rows), "dataset_kwargs": None}
        listed = config.get("metric_list")
        if isinstance(listed, list) and not callable(config.get("process_results")):
            wanted = {NAMES[metric] for metric in self._suite.metrics}
            config["metric_list"] = [one for one in listed if _metric_name(one) in wanted]
            if not config["metric_list"]:
                raise self._measures_nothing(name, [_metric_name(one) for one in listed])
        return config

    def check(self, name: str, path: Path | None, config: Mapping[str, Any]) -> None:
        """Before anything of a task's file is run."""
        if path is not None:
            check_yaml(name, Path(path), self._folder)
        _refuse_code(name, config)

    def _measures_nothing(self, name: str, has: Iterable[str]) -> DataError:
        wanted = ", ".join(f"{metric} ({NAMES[metric]})" for metric in self._suite.metrics)
        return refuse(
            name,
            f"has the metrics {', '.join(sorted(set(has))) or 'none'}, and suite {self._suite.name} asks for {wanted}",
            "Add one of its metrics to the suite, or give the task a suite of its own.",
            reason="MetricUnfit",
        )

    def _task(self, name: str, made: Any, first: int) -> Task:
        shots, own = self._asked.num_fewshot, made.get_config("num_fewshot")
        if own != 0:  # as the harness has it: a task that asks for none gets none
            made.set_config(key="num_fewshot", value=shots if shots is not None else own or 0)
        metrics = self._metrics(name, made)
        total = len(made.eval_docs)
        docs = range(total)
        chosen = tuple(docs)
        if total > self._suite.max_examples:
            chosen = tuple(sorted(random.Random(f"{name} {self._seed}").sample(docs, self._suite.max_examples)))
        self._asks_for_one_answer(name, made)
        task = Task(
            name=name,
            made=made,
            groups=tuple(sorted(set(self._names.get(name, ())) - {name})),
            config_digest=self._digests[name][0],
            rows_digest=self._digests[name][1],
            metrics=metrics,
            filter=self._filter(name, made),
            docs=chosen,
            rows=total,
            first=first,
        )
        try:
            task.asked = task.requests()
        except Exception as error:
            raise _unreadable(name, error) from error
        return task

    def _metrics(self, name: str, made: Any) -> dict[Metric, str]:
        from lm_eval.api.registry import AGGREGATION_REGISTRY

        known = {function: of for of, function in AGGREGATION_REGISTRY.items()}
        aggregations, better = made.aggregation(), made.higher_is_better()
        found: dict[Metric, str] = {}
        for metric in self._suite.metrics:
            its = NAMES[metric]
            if its not in aggregations:
                continue
            aggregation = known.get(aggregations[its], "a function of its own")
            if aggregation not in AGGREGATIONS:
                raise refuse(
                    name,
                    f"makes one number of its {its} by {aggregation}, of which no interval can be told here",
                    f"Take {metric} out of metrics, or leave the task out.",
                    reason="MetricUnfit",
                )
            if better.get(its) is not (metric not in LOWER_IS_BETTER):
                raise refuse(
                    name,
                    f"says higher_is_better: {better.get(its)} of {its}, and {metric} is the other way round",
                    "Correct the task's metric_list.",
                    reason="MetricUnfit",
                )
            if made._metric_fn_list.get(its) is None and not callable(made.config.process_results):
                raise refuse(
                    name,
                    f"takes {its} from the package evaluate, which fetches its metrics",
                    "Leave hf_evaluate out of the task's metric_list.",
                    reason="MetricUnfit",
                )
            found[metric] = aggregation
        if not found:
            raise self._measures_nothing(name, aggregations)
        return found

    def _filter(self, name: str, made: Any) -> str:
        """The one filter of the task, or the one that is asked for."""
        names = [one.name for one in made._filters]
        if len(names) == 1:
            return names[0]
        if self._asked.filter not in names:
            had = f"no filter {self._asked.filter}" if self._asked.filter else "several filters"
            raise refuse(name, f"has {had}; it has {', '.join(names)}", "Name one of them in benchmark.filter.")
        return self._asked.filter

    def _asks_for_one_answer(self, name: str, made: Any) -> None:
        """A gate must give the same answer twice."""
        if made.OUTPUT_TYPE != "generate_until":
            return
        says = made.config.generation_kwargs or {}
        if says.get("do_sample") or float(says.get("temperature") or 0.0) > 0.0:
            raise refuse(name, "samples its answers", "Say do_sample: false in the task's generation_kwargs.")
        if says.keys() - _SAID_OF_ANSWERS:
            raise refuse(
                name,
                f"has generation_kwargs.{min(says.keys() - _SAID_OF_ANSWERS)}, which is not known here",
                "Leave it out.",
            )


def _factory(reader: _Reader) -> Any:
    """The harness's maker of tasks, that reads no file and makes no task before ours have looked at it."""
    from lm_eval.tasks._factory import TaskFactory
    from lm_eval.tasks._index import Kind

    class Factory(TaskFactory):
        def _load_full_config(self, entry: Any, overrides: Any = None) -> dict[str, Any]:
            reader.check(entry.name, entry.yaml_path, entry.cfg or {})
            config = super()._load_full_config(entry, overrides)
            return config if entry.kind is Kind.GROUP else reader.config_of(entry.name, config)

        def _build_task(self, entry: Any, overrides: Any) -> Any:
            try:
                return super()._build_task(entry, overrides)
            except DataError:
                raise
            except Exception as error:
                raise _unreadable(entry.name, error) from error

    return Factory()


def _refuse_code(name: str, config: Mapping[str, Any]) -> None:
    """Tasks that are programs, run what a model writes, or show pictures; also of the harness's own."""
    for code in ("class", "unsafe_code", "doc_to_image", "doc_to_audio"):
        if config.get(code):
            raise refuse(name, f"has {code}, which is not run here", "Leave the task out.")


def _unreadable(name: str, error: Exception) -> DataError:
    what = f"cannot be read by lm-evaluation-harness ({type(error).__name__}: {str(error)[:300]})"
    return refuse(name, what, "Correct the task's file or its rows.")


def _metric_name(listed: Any) -> str:
    name = listed.get("metric") if isinstance(listed, dict) else None
    return getattr(name, "__name__", str(name))


def _digest_of(config: Mapping[str, Any]) -> str:
    def named(value: Any) -> str:
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', repr(value))}"

    return "sha256:" + hashlib.sha256(json.dumps(config, sort_keys=True, default=named).encode()).hexdigest()


_mentions = cache(Mentions)
"""The harness's own files change with the image only, and several suites ask for them."""


def _package() -> Path | None:
    """Where the harness's own tasks lie."""
    found = find_spec("lm_eval")
    return Path(found.origin).parent.resolve() / "tasks" if found is not None and found.origin else None


def _reseed() -> None:
    """As the harness begins: some of its tasks draw from what all of a process draw from (GPQA the order of choices), and would
    ask or score otherwise each time."""
    random.seed(0)
    np.random.seed(_SEED)


def _prepare_library() -> None:
    """Offline, quiet, and with templates that cannot reach into Python: they come from the volume."""
    os.environ["HF_DATASETS_OFFLINE"] = "1"
    os.environ.setdefault("TQDM_DISABLE", "1")
    from jinja2.sandbox import SandboxedEnvironment
    from lm_eval import utils

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if not isinstance(utils.env, SandboxedEnvironment):
        filters = dict(utils.env.filters)
        utils.env = SandboxedEnvironment(undefined=utils.env.undefined, keep_trailing_newline=True)
        utils.env.filters.update(filters)


_arrow = tempfile.TemporaryDirectory(prefix="serin-benchmarks-", ignore_cleanup_errors=True)
"""Where the library writes tables that it then reads piece by piece."""


def _read(rows: Rows, **_: Any) -> Any:
    """The rows by split."""
    import datasets

    datasets.disable_progress_bars()
    if rows.folder is not None and rows.saved:
        found = datasets.load_from_disk(str(rows.folder))
        return found if isinstance(found, dict) else {"train": found}
    if rows.folder is not None:
        return datasets.load_dataset(str(rows.folder), name=rows.name, cache_dir=_arrow.name)
    assert rows.format is not None
    files = {split: list(of) for split, of in rows.files.items()}
    return datasets.load_dataset(rows.format, data_files=files, cache_dir=_arrow.name, **rows.reading)
