"""Prepare: the data as people wrote it becomes token sequences, before any accelerator is asked for.

Reads, cleans, splits, tokenises, and reports what it did to the data. Whatever can be wrong with data or tokenizer
stops here, with the file and the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from . import manifest
from .cleaning import Cleaning
from .config import Data, DataSource, PrepareConfig, Split
from .data import TEST, TRAIN, VALIDATION, write_sequences
from .duplicates import Deduplicator
from .errors import DataError
from .files import empty_directory, write_atomically
from .language import LanguageCheck
from .mixing import Mixture, describe, mix
from .packing import packed
from .reading import Source, read_source
from .result import PrepareOutput, Result, RowCounts, TokenCounts, succeeded
from .rows import Refusal, Row
from .split import check_minimums, check_timestamp, split_rows
from .tokens import Encoder, Sequence, load_tokenizer
from .uris import data_file, model_directory, pvc_path

Part = Literal["train", "validation", "test"]
Encoded = tuple[Row, Sequence]


@dataclass
class Prepared:
    """The rows that are kept, as sequences, by part."""

    train: list[Encoded]
    validation: list[Encoded]
    test: list[Encoded]

    def __len__(self) -> int:
        return len(self.train) + len(self.validation) + len(self.test)


def prepare(config: PrepareConfig) -> Result:
    wanted = config.data
    sources = {part: _located(part, given) for part, given in _files(wanted).items()}
    base = model_directory(config.base_model.uri)
    cleaning = Cleaning()
    encoder = Encoder(
        load_tokenizer(base), wanted.row_ending, config.max_sequence_length, wanted.loss_on, wanted.too_long
    )
    parts = _parts(_clean(sources, config, cleaning, encoder), wanted.split)
    check_minimums(len(parts.validation), len(parts.test), len(parts), wanted.split)
    kept = len(parts)
    parts, mixture = _mixed(parts, wanted)
    output = pvc_path(config.output)
    empty_directory(output)
    lengths = _write(output, parts, encoder, config)
    counts = RowCounts(
        read=cleaning.read,
        kept=kept,
        train=len(parts.train),
        validation=len(parts.validation),
        test=len(parts.test),
    )
    result = PrepareOutput(
        data_uri=f"{config.output}/data",
        data_digest=manifest.digest_of(output / "data"),
        test_uri=f"{config.output}/test/{TEST}",
        base_model_digest=manifest.digest_of(base),
        rows=counts,
        dropped=dict(sorted(cleaning.dropped.items())),
        tokens=_token_counts(lengths, [len(sequence) for part in vars(parts).values() for _row, sequence in part]),
        report_uri=f"{config.output}/report.json",
    )
    _write_report(output / "report.json", config, result, cleaning)
    said = _sentence(counts, result.dropped, cleaning.truncated)
    if mixture is not None:
        weights = {source.name: source.weight_percent or 0 for source in wanted.train}
        said += f"; training is {describe(mixture, weights)}"
    return succeeded("Prepare", config.key, said, result)


def _files(data: Data) -> dict[Part, list[DataSource]]:
    """In the order of reading: what is in the test or validation part already is a duplicate in training."""
    return {"test": data.test, "validation": data.validation, "train": data.train}


def _located(part: Part, given: list[DataSource]) -> list[Source]:
    return [Source(one.name, one.uri, data_file(one.uri, f"data.{part}"), one.format) for one in given]


def _clean(
    sources: dict[Part, list[Source]], config: PrepareConfig, cleaning: Cleaning, encoder: Encoder
) -> dict[Part, list[Encoded]]:
    """The rows of each part's files that pass every check, as sequences."""
    wish = config.data.cleaning
    languages = LanguageCheck(wish.languages)
    duplicates = Deduplicator(wish.near_duplicates.action == "Drop", wish.near_duplicates.similarity_percent)

    def check(row: Row) -> Sequence:
        if config.data.split.strategy == "Temporal":
            check_timestamp(row, config.data.split.field or "")
        languages.check(row)
        sequence = encoder.encode(row)
        if len(sequence) < wish.min_tokens:
            raise Refusal("TooShort", f"{len(sequence)} tokens, at least {wish.min_tokens} are asked for")
        duplicates.check(row)
        cleaning.truncated += sequence.cut > 0
        return sequence

    kept: dict[Part, list[Encoded]] = {}
    for part, files in sources.items():
        kept[part] = []
        for row in (row for source in files for row in read_source(source, cleaning)):
            try:
                kept[part].append((row, check(row)))
            except Refusal as refusal:
                cleaning.refuse(row, refusal)
    return kept


def _parts(kept: dict[Part, list[Encoded]], split: Split) -> Prepared:
    if split.strategy == "Provided":
        if not kept["train"]:
            raise DataError(
                "TooFewRows",
                "no row of data.train is left after cleaning",
                "rows that are in data.validation or data.test as well are left out; the report says which",
            )
        return Prepared(**kept)
    rows = kept["train"]
    parts = split_rows([row for row, _sequence in rows], split)
    return Prepared(*([rows[index] for index in part] for part in (parts.train, parts.validation, parts.test)))


def _mixed(parts: Prepared, data: Data) -> tuple[Prepared, Mixture | None]:
    weights = {source.name: source.weight_percent for source in data.train if source.weight_percent is not None}
    if not weights:
        return parts, None
    mixture = mix([row for row, _sequence in parts.train], weights, data.mixing, data.split.seed)
    return replace(parts, train=[parts.train[index] for index in mixture.order]), mixture


def _arranged(rows: list[Encoded], config: PrepareConfig, encoder: Encoder) -> Iterable[Sequence]:
    """The sequences that training sees: pieces of running text, packed rows, or one row each."""
    sequences = [sequence for _row, sequence in rows]
    if config.data.row_ending == "Newline":
        return encoder.pack(sequences)
    return packed(sequences, config.max_sequence_length) if config.data.packing == "Isolated" else sequences


def _write(output: Path, parts: Prepared, encoder: Encoder, config: PrepareConfig) -> list[int]:
    """Writes the three parts; returns the lengths of the training sequences.

    The test rows lie outside the folder that training gets: it cannot see them by mistake.
    """
    (output / "data").mkdir()
    lengths = write_sequences(output / "data" / TRAIN, _arranged(parts.train, config, encoder))
    # Validation is never packed, so that its loss is the mean over the same rows with and without packing.
    running = config.data.row_ending == "Newline"
    validation = [sequence for _row, sequence in parts.validation]
    write_sequences(output / "data" / VALIDATION, encoder.pack(validation) if running else validation)
    lines = [json.dumps(row.document, ensure_ascii=False, default=str) + "\n" for row, _sequence in parts.test]
    write_atomically(output / "test" / TEST, "".join(lines).encode())
    return lengths


def _token_counts(train_lengths: list[int], row_lengths: list[int]) -> TokenCounts:
    ordered = sorted(row_lengths)
    return TokenCounts(
        train=sum(train_lengths), p50=_quantile(ordered, 0.50), p95=_quantile(ordered, 0.95), max=ordered[-1]
    )


def _quantile(ordered: list[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _write_report(path: Path, config: PrepareConfig, output: PrepareOutput, cleaning: Cleaning) -> None:
    document: dict[str, Any] = {
        "config": config.model_dump(by_alias=True, mode="json"),
        "output": output.model_dump(by_alias=True, mode="json"),
        "formats": dict(sorted(cleaning.formats.items())),
        "droppedSamples": cleaning.samples,
    }
    write_atomically(path, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


def _sentence(rows: RowCounts, dropped: dict[str, int], truncated: int) -> str:
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items(), key=lambda item: -item[1]))
    left_out = f"; dropped {rows.read - rows.kept}: {why}" if why else ""
    parts = f"{rows.train} train, {rows.validation} validation, {rows.test} test"
    cut = f"; cut {truncated} that were too long" if truncated else ""
    return f"{rows.kept} of {rows.read} rows kept ({parts}){left_out}{cut}"
