"""Prepare: the data as people wrote it becomes token sequences, before any accelerator is asked for.

Reads, cleans, splits, tokenises, and reports what it did to the data. Whatever can be wrong with data or tokenizer
stops here, with the file and the line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import manifest
from .config import PrepareConfig
from .data import TEST, TRAIN, VALIDATION, write_sequences
from .files import empty_directory, write_atomically
from .result import PrepareOutput, Result, RowCounts, TokenCounts, succeeded
from .rows import Cleaning, Refusal, Row, read_sources
from .split import split_indices
from .tokens import Encoder, Sequence, load_tokenizer
from .uris import data_file, model_directory, pvc_path


def prepare(config: PrepareConfig) -> Result:
    sources = [(source.name, source.uri, data_file(source.uri)) for source in config.data.train]
    base = model_directory(config.base_model.uri)
    rows, cleaning = read_sources(sources)
    encoder = Encoder(load_tokenizer(base), config.data.row_ending, config.max_sequence_length)
    kept = _encode(rows, encoder, cleaning)
    split = config.data.split
    parts = split_indices(len(kept), (split.train_percent, split.validation_percent, split.test_percent), split.seed)
    output = pvc_path(config.output)
    empty_directory(output)
    lengths = _write(output / "data", kept, parts, encoder, running=config.data.row_ending == "Newline")
    counts = RowCounts(
        read=cleaning.read, kept=len(kept), train=len(parts[0]), validation=len(parts[1]), test=len(parts[2])
    )
    result = PrepareOutput(
        data_uri=f"{config.output}/data",
        data_digest=manifest.digest_of(output / "data"),
        base_model_digest=manifest.digest_of(base),
        rows=counts,
        dropped=dict(sorted(cleaning.dropped.items())),
        tokens=_token_counts(lengths, [len(sequence) for _row, sequence in kept]),
        report_uri=f"{config.output}/report.json",
    )
    _write_report(output / "report.json", config, result, cleaning)
    return succeeded("Prepare", config.key, _sentence(counts, result.dropped), result)


def _encode(rows: list[Row], encoder: Encoder, cleaning: Cleaning) -> list[tuple[Row, Sequence]]:
    kept: list[tuple[Row, Sequence]] = []
    for row in rows:
        try:
            kept.append((row, encoder.encode(row)))
        except Refusal as refusal:
            cleaning.drop(refusal.reason, row.place, refusal.why)
    return kept


def _write(
    directory: Path,
    kept: list[tuple[Row, Sequence]],
    parts: tuple[list[int], list[int], list[int]],
    encoder: Encoder,
    running: bool,
) -> list[int]:
    """Writes the three parts; returns the lengths of the training sequences."""
    directory.mkdir()
    train, validation, test = parts
    for name, indices in ((TRAIN, train), (VALIDATION, validation)):
        sequences = [kept[index][1] for index in indices]
        written = write_sequences(directory / name, encoder.pack(sequences) if running else sequences)
        if name == TRAIN:
            lengths = written
    lines = [json.dumps(kept[index][0].document, ensure_ascii=False) + "\n" for index in test]
    write_atomically(directory / TEST, "".join(lines).encode())
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
        "shapes": dict(sorted(cleaning.shapes.items())),
        "droppedSamples": cleaning.samples,
    }
    write_atomically(path, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


def _sentence(rows: RowCounts, dropped: dict[str, int]) -> str:
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items(), key=lambda item: -item[1]))
    left_out = f"; dropped {rows.read - rows.kept}: {why}" if why else ""
    parts = f"{rows.train} train, {rows.validation} validation, {rows.test} test"
    return f"{rows.kept} of {rows.read} rows kept ({parts}){left_out}"
