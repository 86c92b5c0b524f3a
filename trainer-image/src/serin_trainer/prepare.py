"""Prepare: the data as people wrote it becomes token sequences, before any accelerator is asked for.

Reads, cleans, splits, mixes, tokenises, and reports what it did to the data, also when it has to refuse them. Whatever can
be wrong with data or tokenizer stops here, with the file and the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import manifest, overlap
from .config import Data, DataSource, PrepareConfig
from .data import TEST, TRAIN, VALIDATION, write_sequences
from .duplicates import Deduplicator
from .errors import ConfigError, DataError, StageError
from .estimate import choose, facts, plan
from .files import empty_directory, write_atomically
from .language import LanguageCheck
from .mixing import describe, mix
from .origins import origin, sources_digest
from .overlap import read_set
from .packing import packed
from .reading import Source, read_files
from .report import EXAMPLES, Account, Encoded, PartName, example, quantile
from .report_page import page
from .result import PrepareOutput, Result, RowCounts, TokenCounts, succeeded
from .rows import Refusal, Row
from .split import check_minimums, check_timestamp, split_rows
from .tokens import Encoder, Sequence, load_tokenizer
from .uris import copy_model, data_file, data_files, model_directory, pvc_path

REPORT, PAGE = "report.json", "report.html"
BASE = "base"  # the folder of a base model that had to be copied
Located = dict[PartName, list[list[Source]]]


def prepare(config: PrepareConfig) -> Result:
    account, output = Account(config), pvc_path(config.output)
    with TemporaryDirectory(prefix="serin-data-") as scratch:
        sources = {part: _located(part, given, account, Path(scratch)) for part, given in _files(config.data).items()}
        base = output / BASE if config.copies_base else model_directory(config.base_model.uri)
        empty_directory(output)
        try:
            if config.copies_base:
                copy_model(config.base_model, base)
            return _prepare(account, sources, base, output)
        except (ConfigError, DataError) as error:
            _write_report(account, output, error)
            raise


def _prepare(account: Account, sources: Located, base: Path, output: Path) -> Result:
    config = account.config
    wanted, tokenizer = config.data, load_tokenizer(base)
    encoder = Encoder(tokenizer, wanted.row_ending, config.max_sequence_length, wanted.loss_on, wanted.too_long)
    account.parts = _divided(_clean(sources, account, encoder), wanted)
    _check_overlap(account)
    parts = account.parts
    kept = sum(len(part) for part in parts.values())
    check_minimums(len(parts["validation"]), len(parts["test"]), kept, wanted.split)
    _mix(account)
    account.examples = [example(tokenizer, *one) for one in parts["train"][:EXAMPLES]]
    account.sequence_lengths = lengths = _write(output, account, encoder)
    known = facts(base, config.training)
    choice = choose(known, config.training, lengths) if config.training.method == "Auto" else None
    account.plan = plan(known, config.training, lengths, choice) if known else None
    ordered = sorted(len(sequence) for part in parts.values() for _row, sequence in part)
    result = PrepareOutput(
        data_uri=f"{config.output}/data",
        data_digest=manifest.digest_of(output / "data"),
        test_uri=f"{config.output}/test/{TEST}",
        base_model_digest=manifest.digest_of(base),
        base_model_uri=f"{config.output}/{BASE}" if config.copies_base else None,
        sources_digest=sources_digest(account.origins),
        method=choice.method if choice else None,
        method_reason=choice.reason if choice else None,
        rows=RowCounts(
            read=account.cleaning.read,
            kept=kept,
            train=len(account.parts["train"]),
            validation=len(parts["validation"]),
            test=len(parts["test"]),
        ),
        dropped=dict(sorted(account.cleaning.dropped.items())),
        tokens=TokenCounts(
            train=sum(lengths), p50=quantile(ordered, 0.50), p95=quantile(ordered, 0.95), max=ordered[-1]
        ),
        report_uri=f"{config.output}/{REPORT}",
        page_uri=f"{config.output}/{PAGE}",
    )
    done = succeeded("Prepare", config.key, _sentence(account, result), result)
    _write_report(account, output, done)
    return done


def _files(data: Data) -> dict[PartName, list[DataSource]]:
    """In the order of reading: what is in the test or validation part already is a duplicate in training."""
    return {"test": list(data.test), "validation": list(data.validation), "train": list(data.train)}


def _located(part: PartName, given: list[DataSource], account: Account, scratch: Path) -> list[list[Source]]:
    """The files of each source, on this pod."""
    found = []
    for one in given:
        rows = data_files(one, f"data.{part}[{one.name}]", scratch / part / one.name)
        account.origins[f"{part}/{one.name}"] = origin(rows)
        found.append([Source(one.name, file.uri, file.path, one.format, part) for file in rows.files])
    return found


def _clean(sources: Located, account: Account, encoder: Encoder) -> dict[PartName, list[Encoded]]:
    """The rows of each part's files that pass every check, as sequences."""
    data, cleaning = account.config.data, account.cleaning
    languages = LanguageCheck(data.cleaning.languages)
    near = data.cleaning.near_duplicates
    duplicates = Deduplicator(near.action == "Drop", near.similarity_percent)

    def check(row: Row) -> Sequence:
        if data.split.strategy == "Temporal":
            check_timestamp(row, data.split.field or "")
        languages.check(row)
        sequence = encoder.encode(row)
        if len(sequence) < data.cleaning.min_tokens:
            raise Refusal("TooShort", f"{len(sequence)} tokens, at least {data.cleaning.min_tokens} are asked for")
        duplicates.check(row)
        cleaning.truncated += sequence.cut > 0
        return sequence

    kept: dict[PartName, list[Encoded]] = {}
    wished = _files(data)
    for part, located in sources.items():
        kept[part] = []
        for one, files in zip(wished[part], located, strict=True):
            for row in read_files(files, cleaning, one.uri):
                try:
                    kept[part].append((row, check(row)))
                except Refusal as refusal:
                    cleaning.refuse(row, refusal)
    return kept


def _divided(kept: dict[PartName, list[Encoded]], data: Data) -> dict[PartName, list[Encoded]]:
    if data.split.strategy == "Provided":
        if not kept["train"]:
            raise DataError(
                "TooFewRows",
                "no row of data.train is left after cleaning",
                "rows that are in data.validation or data.test as well are left out; the report says which",
            )
        return {"train": kept["train"], "validation": kept["validation"], "test": kept["test"]}
    rows = kept["train"]
    parts = split_rows([row for row, _sequence in rows], data.split)
    names: tuple[PartName, ...] = ("train", "validation", "test")
    return {name: [rows[index] for index in getattr(parts, name)] for name in names}


def _check_overlap(account: Account) -> None:
    """Neither what is learned nor what training is steered by may be what the gates measure with."""
    config, parts = account.config, account.parts
    bound, similarity = config.data.overlap, config.data.cleaning.near_duplicates.similarity_percent
    for wanted in config.evaluation_sets:
        path = data_file(wanted.uri, f"the suite {wanted.name} of the gate")
        known = read_set(wanted.name, Source(wanted.name, wanted.uri, path), similarity)
        for row, _sequence in (*parts["train"], *parts["validation"]):
            known.look_at(row)
        account.overlaps.append(known.found)
    if bound.action == "Refuse":
        overlap.refuse(account.overlaps, bound.max_percent)
        return
    gone = overlap.drop(account.overlaps, account.cleaning)
    for name in ("train", "validation"):
        parts[name] = [one for one in parts[name] if one[0].place not in gone]
    if not parts["train"]:
        raise DataError(
            "TooFewRows",
            "no row is left to train on: the gates' evaluation sets have them all",
            "train on other rows than those that the gates measure with",
        )


def _mix(account: Account) -> None:
    data, train = account.config.data, account.parts["train"]
    weights = {source.name: source.weight_percent for source in data.train if source.weight_percent is not None}
    if weights:
        mixture = mix([row for row, _sequence in train], weights, data.mixing, data.split.seed)
        account.mixture = mixture
        account.parts = {**account.parts, "train": [train[index] for index in mixture.order]}


def _arranged(rows: list[Encoded], config: PrepareConfig, encoder: Encoder) -> Iterable[Sequence]:
    """The sequences that training sees: pieces of running text, packed rows, or one row each."""
    sequences = [sequence for _row, sequence in rows]
    if config.data.row_ending == "Newline":
        return encoder.pack(sequences)
    return packed(sequences, config.max_sequence_length) if config.data.packing == "Isolated" else sequences


def _write(output: Path, account: Account, encoder: Encoder) -> list[int]:
    """Writes the three parts; returns the lengths of the training sequences.

    The test rows lie outside the folder that training gets: it cannot see them by mistake.
    """
    config, parts = account.config, account.parts
    (output / "data").mkdir()
    lengths = write_sequences(output / "data" / TRAIN, _arranged(parts["train"], config, encoder))
    # Validation is never packed, so that its loss is the mean over the same rows with and without packing.
    running = config.data.row_ending == "Newline"
    validation = [sequence for _row, sequence in parts["validation"]]
    write_sequences(output / "data" / VALIDATION, encoder.pack(validation) if running else validation)
    lines = [json.dumps(row.document, ensure_ascii=False, default=str) + "\n" for row, _sequence in parts["test"]]
    write_atomically(output / "test" / TEST, "".join(lines).encode())
    return lengths


def _write_report(account: Account, output: Path, ended: Result | StageError) -> None:
    """report.json, and the same as a page for people."""
    outcome: Any = ended.outcome if isinstance(ended, Result) else "Failed"
    report = account.report(outcome, ended.message, ended.advice)
    document = json.dumps(report.model_dump(by_alias=True, mode="json"), indent=1, ensure_ascii=False)
    write_atomically(output / REPORT, f"{document}\n".encode())
    write_atomically(output / PAGE, page(report).encode())


def _sentence(account: Account, result: PrepareOutput) -> str:
    rows, truncated = result.rows, account.cleaning.truncated
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(result.dropped.items(), key=lambda item: -item[1]))
    said = [
        f"{rows.kept} of {rows.read} rows kept ({rows.train} train, {rows.validation} validation, {rows.test} test)"
    ]
    said += [f"dropped {rows.read - rows.kept}: {why}"] if why else []
    said += [f"cut {truncated} that were too long"] if truncated else []
    if account.mixture is not None:
        weights = {source.name: source.weight_percent or 0 for source in account.config.data.train}
        said.append(f"training is {describe(account.mixture, weights)}")
    for found in account.overlaps:
        what = f"{len(found.shared)} of {found.rows}" if found.rows else "no comparable"
        said.append(f"{what} rows of the evaluation set {found.name} are in training")
    said += [result.method_reason] if result.method_reason else []
    return "; ".join(said)
