"""Prepare with a real tokenizer: what the model is shown, and which of it the loss counts on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from serin_trainer import manifest
from serin_trainer.data import Sequences
from serin_trainer.errors import DataError
from serin_trainer.rows import Refusal, Row, parse
from serin_trainer.tokens import Encoder, load_tokenizer
from support.training import PREPARE, changed, write_rows


@pytest.fixture(scope="module")
def tokenizer(claims: Any) -> Any:
    return load_tokenizer(claims.path("pvc://models/base"))


def _row(**document: Any) -> Row:
    return parse(json.dumps(document), "f:1")


def _learned(tokenizer: Any, sequence: Any) -> str:
    return tokenizer.decode([token for token, counts in zip(sequence.ids, sequence.counts, strict=True) if counts])


def test_the_result_counts_rows_and_digests_what_it_wrote(claims: Any, prepared: dict[str, Any]) -> None:
    output = prepared["output"]
    assert output["rows"] == {"read": 64, "kept": 64, "train": 52, "validation": 6, "test": 6}
    assert output["dropped"] == {}
    assert output["dataDigest"] == manifest.digest_of(claims.path(output["dataUri"]))
    assert output["baseModelDigest"] == manifest.digest_of(claims.path("pvc://models/base"))
    sequences = Sequences(claims.path(output["dataUri"]) / "train.safetensors")
    assert (len(sequences), sum(sequences.lengths)) == (52, output["tokens"]["train"])
    assert output["tokens"]["p50"] <= output["tokens"]["p95"] <= output["tokens"]["max"]


def test_test_rows_are_kept_as_they_came_and_are_in_no_other_part(
    claims: Any, prepared: dict[str, Any], tokenizer: Any
) -> None:
    data = claims.path(prepared["output"]["dataUri"])
    rows = [json.loads(line) for line in claims.path(prepared["output"]["testUri"]).read_text().splitlines()]
    assert not list(data.rglob("test*"))
    trained = Sequences(data / "train.safetensors")
    texts = {tokenizer.decode(trained[index]["ids"]) for index in range(len(trained))}
    assert len(rows) == 6
    assert not any(row["input"] in text for row in rows for text in texts)


def test_the_same_wish_gives_the_same_digest(claims: Any, prepared: dict[str, Any]) -> None:
    again = claims.prepare(key="3f00ab", output="pvc://artifacts/prepare-again")
    assert again["output"]["dataDigest"] == prepared["output"]["dataDigest"]


def test_a_finished_one_is_reported_and_not_made_again(claims: Any, prepared: dict[str, Any]) -> None:
    train = claims.path(prepared["output"]["dataUri"]) / "train.safetensors"
    before = train.stat().st_mtime_ns
    again = claims.prepare()
    assert again["output"] == prepared["output"]
    assert "already finished" in again["log"]
    assert train.stat().st_mtime_ns == before


def test_only_the_answer_and_its_end_are_learned(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, "EndOfSequence", 64)
    sequence = encoder.encode(_row(input="What is the name of a Pod?", output="The name."))
    assert tokenizer.decode(sequence.ids) == "<|begin|>Question: What is the name of a Pod?\nAnswer: The name.<|end|>\n"
    assert _learned(tokenizer, sequence) == " The name.<|end|>\n"


def test_every_answer_of_a_conversation_is_learned(tokenizer: Any) -> None:
    messages = [
        {"role": "user", "content": "Pod?"},
        {"role": "assistant", "content": "A pod."},
        {"role": "user", "content": "Node?"},
        {"role": "assistant", "content": "A node."},
    ]
    sequence = Encoder(tokenizer, "EndOfSequence", 64).encode(_row(messages=messages))
    assert _learned(tokenizer, sequence) == " A pod.<|end|>\n A node.<|end|>\n"
    assert sequence.ids.count(tokenizer.bos_token_id) == 1


def test_plain_prompts_go_without_a_template_and_end_once(tokenizer: Any) -> None:
    sequence = Encoder(tokenizer, "EndOfSequence", 64).encode(_row(prompt="The name", completion=" is a part."))
    assert tokenizer.decode(sequence.ids) == "<|begin|>The name is a part.<|end|>"
    assert _learned(tokenizer, sequence) == " is a part.<|end|>"


def test_of_text_all_is_learned_but_the_begin_token(tokenizer: Any) -> None:
    sequence = Encoder(tokenizer, "EndOfSequence", 64).encode(_row(text="The name is a part."))
    assert _learned(tokenizer, sequence) == "The name is a part.<|end|>"


def test_running_text_has_lines_and_no_end(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, "Newline", 32)
    rows = [_row(input=f"What is the {name} of a Pod?", output=f"The {name}.") for name in ("name", "spec", "status")]
    pieces = list(encoder.pack(encoder.encode(row) for row in rows))
    text = "".join(tokenizer.decode(piece.ids) for piece in pieces)
    assert all(len(piece) <= 32 and all(piece.counts) for piece in pieces)
    assert tokenizer.eos_token not in text
    assert text.replace("<|begin|>", "").startswith(
        "Question: What is the name of a Pod?\nAnswer: The name.\nQuestion: "
    )
    assert all(piece.ids[0] == tokenizer.bos_token_id for piece in pieces)


def test_a_row_that_does_not_fit_is_refused_with_its_length(tokenizer: Any) -> None:
    with pytest.raises(Refusal, match=r"\d+ tokens, the limit is 8") as refusal:
        Encoder(tokenizer, "EndOfSequence", 8).encode(_row(text="The name is a part of each Pod."))
    assert refusal.value.reason == "TooLong"


CHAT = [
    {"role": "user", "content": "Pod?"},
    {"role": "assistant", "content": "A pod."},
    {"role": "user", "content": "Node?"},
    {"role": "assistant", "content": "A node."},
]


def test_the_wish_says_what_the_loss_counts_on(tokenizer: Any) -> None:
    def learned(loss_on: Any, messages: list[dict[str, Any]]) -> str:
        encoder = Encoder(tokenizer, "EndOfSequence", 64, loss_on)
        return _learned(tokenizer, encoder.encode(_row(messages=messages)))

    assert learned("LastCompletion", CHAT) == " A node.<|end|>\n"
    everything = "Question: Pod?\nAnswer: A pod.<|end|>\nQuestion: Node?\nAnswer: A node.<|end|>\n"
    assert learned("AllTokens", CHAT).removeprefix("<|begin|>") == everything
    assert learned("Completions", [CHAT[0], {**CHAT[1], "weight": 0}, *CHAT[2:]]) == " A node.<|end|>\n"


def test_a_row_that_is_too_long_loses_its_end_where_the_wish_says_so(tokenizer: Any) -> None:
    row = _row(input="Pod?", output="A pod is a part of a node. " * 4)
    whole = Encoder(tokenizer, "EndOfSequence", 200).encode(row)
    cut = Encoder(tokenizer, "EndOfSequence", 40, too_long="Truncate").encode(row)
    assert (len(cut), cut.cut) == (40, len(whole) - 40)
    assert cut.ids == whole.ids[:40]
    assert tokenizer.eos_token_id not in cut.ids
    with pytest.raises(Refusal, match="the answer begins after") as refusal:
        Encoder(tokenizer, "EndOfSequence", 8, too_long="Truncate").encode(row)
    assert refusal.value.reason == "TooLong"


def test_sources_are_mixed_by_weight_and_the_message_says_so(claims: Any) -> None:
    write_rows(claims.path("pvc://datasets/general.jsonl"), _texts(200, "general "))
    sources = [
        {**PREPARE["data"]["train"][0], "weightPercent": 80},
        {"name": "general", "uri": "pvc://datasets/general.jsonl", "weightPercent": 20},
    ]
    result = claims.prepare(key="3d0030", output="pvc://artifacts/prepare-mixed", data__train=sources)
    counts = result["output"]["rows"]
    assert counts["kept"] == 264
    assert "80 percent tickets" in result["message"]
    trained = Sequences(claims.path(result["output"]["dataUri"]) / "train.safetensors")
    tokenizer = load_tokenizer(claims.path("pvc://models/base"))
    general = sum("general" in tokenizer.decode(trained[index]["ids"]) for index in range(len(trained)))
    assert general / counts["train"] == pytest.approx(0.2, abs=0.01)
    assert counts["validation"] == 26


def _overlapping(claims: Any, number: int, **changes: Any) -> dict[str, Any]:
    """The wish for rows of which the gate has four of ten as well."""
    rows = _texts(60)
    write_rows(claims.path("pvc://datasets/learned.jsonl"), rows)
    write_rows(claims.path("pvc://datasets/hidden.jsonl"), [*_texts(6, "hidden "), *rows[:4]])
    given = {
        "key": f"3d004{number}",
        "output": f"pvc://artifacts/prepare-overlap-{number}",
        "data.train": [{"name": "learned", "uri": "pvc://datasets/learned.jsonl"}],
        "data.split": {**PREPARE["data"]["split"], "trainPercent": 100, "validationPercent": 0, "testPercent": 0},
        "evaluationSets": [{"name": "answers/heldout", "uri": "pvc://datasets/hidden.jsonl"}],
    }
    return changed(PREPARE, given | changes)


def test_training_on_the_gates_rows_is_refused_and_the_report_shows_none_of_them(claims: Any) -> None:
    config = _overlapping(claims, 0)
    result = claims.run(config, expect=65)
    assert result["reason"] == "DataOverlap"
    assert "4 of 10 rows (40.0 percent) of the evaluation set answers/heldout" in result["message"]
    folder = claims.path(config["output"])
    report = json.loads((folder / "report.json").read_text())
    assert (report["outcome"], report["overlap"][0]["shared"]) == ("Failed", 4)
    assert report["overlap"][0]["places"][0] == "pvc://datasets/learned.jsonl:1"
    assert not (folder / "data").exists()
    for name in ("report.json", "report.html"):
        assert "hidden " not in (folder / name).read_text()


def test_training_rows_that_a_gate_has_can_be_left_out(claims: Any) -> None:
    dropping = {"data.overlap": {"action": "Drop", "maxPercent": 0}}
    result = claims.run(_overlapping(claims, 1, **dropping))
    assert result["output"]["dropped"] == {"InEvaluation": 4}
    assert result["output"]["rows"]["train"] == 56
    assert "4 of 10 rows of the evaluation set answers/heldout are in training" in result["message"]


def test_the_report_has_the_plan_that_training_follows(claims: Any, prepared: dict[str, Any]) -> None:
    report = json.loads(claims.path(prepared["output"]["reportUri"]).read_text())
    assert report["schemaVersion"] == "serin.dev/prepare-report/v1"
    assert (report["plan"]["steps"], report["plan"]["sequencesPerStep"]) == (8, 16)
    assert report["parts"]["train"]["tokens"] == prepared["output"]["tokens"]["train"]
    learned = "".join(text for text, counts in report["examples"][0]["pieces"] if counts)
    assert learned.startswith(" The ")
    page = claims.path(prepared["output"]["pageUri"]).read_text()
    assert "<mark> The " in page
    assert page.count("<svg") == 2


def test_a_method_is_chosen_before_anything_trains_and_everybody_is_told_why(claims: Any) -> None:
    wish = {"output": "pvc://artifacts/prepare-auto", "training__method": "Auto"}
    done = claims.prepare(key="3f00a1", training__deviceMib=8192, **wish)
    assert done["output"]["method"] == "Full"
    assert done["output"]["methodReason"].startswith("full fine-tuning was chosen: with ZeRO 2 it takes about 1.0 GiB")
    assert done["output"]["methodReason"] in done["message"]
    folder = claims.path("pvc://artifacts/prepare-auto")
    plan = json.loads((folder / "report.json").read_text())["plan"]
    assert (plan["chosen"]["method"], plan["methodReason"]) == ("Full", done["output"]["methodReason"])
    assert done["output"]["methodReason"] in (folder / "report.html").read_text()
    refused = claims.run(changed(PREPARE, {"key": "3f00a2", "output": wish["output"], "training.method": "Auto",
                                           "training.deviceMib": 64}), expect=64)  # fmt: skip
    assert (refused["reason"], refused["outcome"]) == ("MethodTooLarge", "Failed")
    assert json.loads((folder / "report.json").read_text())["message"] == refused["message"]


def test_messages_need_a_chat_template(claims: Any, tmp_path: Path) -> None:
    bare = load_tokenizer(claims.path("pvc://models/base"))
    bare.chat_template = None
    encoder = Encoder(bare, "EndOfSequence", 64)
    with pytest.raises(DataError) as refusal:
        encoder.encode(_row(messages=[{"role": "assistant", "content": "hi"}]))
    assert refusal.value.reason == "ChatTemplateMissing"
    assert bare.decode(encoder.encode(_row(input="Pod?", output="A pod.")).ids) == "<|begin|>Pod?\nA pod.<|end|>"


def test_a_messy_file_is_cleaned_and_the_report_says_how(claims: Any) -> None:
    rows = [{"input": f"What is {number}?", "output": "A number."} for number in range(20)]
    messy = [*rows, rows[0], {"input": "no answer"}, {"input": "empty", "output": ""}, {"text": "long " * 200}]
    path = write_rows(claims.path("pvc://datasets/messy.jsonl"), messy)
    with path.open("a") as stream:
        stream.write("{broken\n")
    result = claims.prepare(
        key="3f00ac",
        output="pvc://artifacts/prepare-messy",
        data__train=[{"name": "messy", "uri": "pvc://datasets/messy.jsonl"}],
    )
    dropped = {"Duplicate": 1, "Empty": 1, "Incomplete": 1, "TooLong": 1, "Unparsable": 1}
    assert result["output"]["dropped"] == dropped
    report = json.loads(claims.path(result["output"]["reportUri"]).read_text())
    samples = {one["reason"]: one["samples"] for one in report["dropped"]}
    assert samples["Unparsable"][0]["place"] == "pvc://datasets/messy.jsonl:25"
    assert "dropped 5" in result["message"]


def test_too_few_rows_are_the_users_turn(claims: Any) -> None:
    write_rows(claims.path("pvc://datasets/few.jsonl"), [{"text": f"row {number}"} for number in range(9)])
    few = {"data.train": [{"name": "few", "uri": "pvc://datasets/few.jsonl"}], "output": "pvc://artifacts/prepare-few"}
    result = claims.run(changed(PREPARE, few), expect=65)
    assert result["reason"] == "TooFewRows"
    assert "9 usable rows" in result["message"]


def test_an_unreachable_hub_is_named_with_what_to_do(claims: Any) -> None:
    away = {"baseModel.uri": "hf://some/model@main", "output": "pvc://artifacts/prepare-away"}
    result = claims.run(changed(PREPARE, away), expect=65)
    assert result["reason"] == "ModelUnreachable"
    assert "pvc://" in result["advice"]


def test_preparing_does_not_import_torch(claims: Any) -> None:
    import subprocess
    import sys

    config = changed(PREPARE, {"key": "3f00ad", "output": "pvc://artifacts/prepare-light"})
    script = (
        "import sys; from serin_trainer.__main__ import main; code = main(sys.argv[1:]); "
        "sys.exit(code or ('torch' in sys.modules and 99))"
    )
    arguments = ["--config", str(claims.write(config))]
    done = subprocess.run([sys.executable, "-c", script, *arguments], env=claims.environment(), check=False)
    assert done.returncode == 0


def _texts(number: int, prefix: str = "") -> list[dict[str, Any]]:
    """Rows that are nothing like each other."""
    words = [
        "pod",
        "node",
        "job",
        "lease",
        "secret",
        "ingress",
        "volume",
        "claim",
        "route",
        "gateway",
        "probe",
        "event",
    ]
    return [
        {
            "input": f"{prefix}{words[n % 12]} {n * n} {words[n * 7 % 12]}?",
            "output": f"{words[n * 5 % 12]} {n * 31} {words[n * 3 % 12]}.",
            "at": f"2026-{1 + n % 12:02}-{1 + n % 28:02}",
            "team": "a" if n % 4 else "b",
        }
        for n in range(number)
    ]


def test_every_kind_of_file_gives_the_same_data(claims: Any) -> None:
    import csv

    import pyarrow
    import pyarrow.parquet

    rows, digests = _texts(40), set()
    write_rows(claims.path("pvc://datasets/same.jsonl"), rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), claims.path("pvc://datasets/same.parquet"))
    with claims.path("pvc://datasets/same.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)
    for number, kind in enumerate(("jsonl", "csv", "parquet")):
        result = claims.prepare(
            key=f"3d000{number}",
            output=f"pvc://artifacts/prepare-same-{kind}",
            data__train=[{"name": "same", "uri": f"pvc://datasets/same.{kind}"}],
        )
        digests.add(result["output"]["dataDigest"])
        assert result["output"]["rows"]["kept"] == 40
    assert len(digests) == 1


def test_provided_parts_stay_what_they_are_and_training_loses_what_they_share(claims: Any) -> None:
    rows = _texts(60)
    for name, part in (("train", rows[:50]), ("validation", rows[40:50]), ("test", rows[45:60])):
        write_rows(claims.path(f"pvc://datasets/own/{name}.jsonl"), part)
    files = {
        f"data__{part}": [{"name": part, "uri": f"pvc://datasets/own/{part}.jsonl"}]
        for part in ("train", "validation", "test")
    }
    result = claims.prepare(
        key="3d0010", output="pvc://artifacts/prepare-provided", data__split__strategy="Provided", **files
    )
    counts = result["output"]["rows"]
    assert (counts["train"], counts["validation"], counts["test"]) == (40, 5, 15)
    assert result["output"]["dropped"] == {"Duplicate": 15}
    report = json.loads(claims.path(result["output"]["reportUri"]).read_text())
    assert "identical to pvc://datasets/own/test.jsonl:1" in {
        sample["why"] for sample in report["dropped"][0]["samples"]
    }


def test_the_newest_rows_are_for_the_test(claims: Any) -> None:
    rows = [*_texts(40), {"input": "When?", "output": "Never."}]
    write_rows(claims.path("pvc://datasets/dated.jsonl"), rows)
    result = claims.prepare(
        key="3d0011",
        output="pvc://artifacts/prepare-dated",
        data__train=[{"name": "dated", "uri": "pvc://datasets/dated.jsonl"}],
        data__split={**PREPARE["data"]["split"], "strategy": "Temporal", "field": "at"},
    )
    kept = [json.loads(line) for line in claims.path(result["output"]["testUri"]).read_text().splitlines()]
    assert {row["at"] for row in kept} == set(sorted(row["at"] for row in rows[:40])[-4:])
    assert result["output"]["dropped"] == {"NoTimestamp": 1}


def test_cleaning_drops_what_the_wish_says(claims: Any) -> None:
    rows = _texts(40)
    odd = [
        {"input": "Was ist das?", "output": "Die Rechnung wurde leider an die falsche Adresse geschickt."},
        {"text": "No"},
        {**rows[0], "output": rows[0]["output"].upper()},
    ]
    write_rows(claims.path("pvc://datasets/odd.jsonl"), [*rows, *odd])
    result = claims.prepare(
        key="3d0012",
        output="pvc://artifacts/prepare-odd",
        data__train=[{"name": "odd", "uri": "pvc://datasets/odd.jsonl"}],
        maxSequenceLength=128,
        data__cleaning={
            "minTokens": 6,
            "languages": ["en"],
            "nearDuplicates": {"action": "Drop", "similarityPercent": 90},
        },
    )
    assert result["output"]["dropped"] == {"NearDuplicate": 1, "TooShort": 1, "WrongLanguage": 1}


def test_too_small_a_part_is_refused_before_anything_is_written(claims: Any) -> None:
    few = {"data.split.minTestRows": 7, "key": "3d0013", "output": "pvc://artifacts/prepare-small"}
    result = claims.run(changed(PREPARE, few), expect=65)
    assert result["reason"] == "TooFewRows"
    assert "data.split.minTestRows to 6" in result["advice"]
    assert not (claims.path("pvc://artifacts/prepare-small") / "data").exists()


def test_a_data_set_of_the_hub_is_read_from_its_cache_without_a_network(claims: Any, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    hub = tmp_path / "hub" / "datasets--team--tickets"
    write_rows(hub / "snapshots" / commit / "data" / "train.jsonl", _texts(40))
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text(commit)
    for number, address in enumerate(("hf://datasets/team/tickets", f"hf://datasets/team/tickets@{commit}")):
        changes = {
            "key": f"3d002{number}",
            "output": f"pvc://artifacts/prepare-hub-{number}",
            "data.train": [{"name": "tickets", "uri": f"{address}/data/train.jsonl"}],
        }
        assert _with_hub(claims, tmp_path, changes, expect=0)["output"]["rows"]["kept"] == 40
    away = {
        "data.train": [{"name": "tickets", "uri": "hf://datasets/team/other/train.jsonl"}],
        "output": "pvc://artifacts/prepare-hub-away",
    }
    refused = _with_hub(claims, tmp_path, away, expect=65)
    assert refused["reason"] == "DatasetUnreachable"
    assert "pvc://" in refused["advice"]


def _with_hub(claims: Any, home: Path, changes: dict[str, Any], expect: int) -> dict[str, Any]:
    """Prepare in a process that has not read the hub's settings yet, as a pod's."""
    import subprocess
    import sys

    command = [sys.executable, "-m", "serin_trainer", "--config", str(claims.write(changed(PREPARE, changes)))]
    environment = {**claims.environment(), "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return claims.answer(done.returncode, expect, done.stdout + done.stderr)
