"""`spec.configFrom` in the job's loop: what runs is what the recipe says, and nothing starts on a recipe that is not understood."""

import json
from dataclasses import replace
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import FineTuneJob
from serin_operator.decide.decision import Create, Delete
from serin_operator.decide.job import decide_job
from serin_operator.decide.job.snapshot import JobSnapshot, RecipeSource
from serin_trainer.config import PrepareConfig
from support.jobs import World, job_manifest

FROM = {"configFrom": {"format": "Axolotl", "configMapRef": {"name": "recipe"}}}
GOOD = "adapter: lora\nlora_r: 4\nnum_epochs: 2\nsequence_len: 64\nlogging_steps: 1\nmy_own_key: 1\n"


class Recipes(World):
    """A World whose ConfigMap may change."""

    source: RecipeSource = RecipeSource(True, ("config.yaml",), GOOD)

    def snapshot(self) -> JobSnapshot:
        return replace(super().snapshot(), recipe=self.source)


def a_world(text: str | None = GOOD, **spec: Any) -> Recipes:
    world = Recipes(spec={**FROM, **spec})
    world.source = RecipeSource(True, ("config.yaml",) if text is not None else ("other.yaml",), text)
    return world


def look(world: Recipes) -> dict[str, dict[str, Any]]:
    """One look, carried out; the conditions after it, by type."""
    world.act(decide_job(world.snapshot()))
    return {one["type"]: one for one in world.status["conditions"]}


def configs(world: Recipes) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for _ in range(12):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            if isinstance(action, Create) and action.manifest["kind"] == "ConfigMap":
                config = json.loads(action.manifest["data"]["config.json"])
                found[config["stage"]] = config
        world.act(decision)
        for run in world.running():
            world.finish(run)
    return found


def test_what_runs_is_what_the_recipe_says() -> None:
    found = configs(a_world())
    assert found["Train"]["method"] == {
        "type": "LoRA", "lora": {"rank": 4, "alpha": 32, "targetModules": ["q_proj", "v_proj"], "dropout": "0.0"},
    }  # fmt: skip
    assert found["Train"]["hyperparameters"]["epochs"] == 2
    assert found["Prepare"]["maxSequenceLength"] == 64


def test_the_report_is_told_of_every_key() -> None:
    recipe = configs(a_world())["Prepare"]["recipe"]
    assert (recipe["format"], recipe["source"], recipe["unknown"]) == ("Axolotl", "recipe/config.yaml", ["my_own_key"])
    told = {one["key"]: one for one in recipe["keys"]}
    assert told["lora_r"] == {"key": "lora_r", "field": "method.lora.rank", "value": "4"}
    assert "logs" in told["logging_steps"]["why"]


def test_the_image_reads_what_it_is_told_of_the_recipe() -> None:
    told = PrepareConfig.model_validate(configs(a_world())["Prepare"]).recipe
    assert told is not None
    assert {one.key for one in told.keys} == {"adapter", "lora_r", "num_epochs", "sequence_len", "logging_steps"}


def test_unknown_keys_are_in_a_condition() -> None:
    found = look(a_world())["ConfigTranslated"]
    assert (found["status"], found["reason"]) == ("True", "UnknownKeys")
    assert found["message"].endswith("1 unknown ones were not applied: my_own_key")


def test_a_recipe_without_unknown_keys_is_told_as_translated() -> None:
    assert look(a_world("num_epochs: 2\n"))["ConfigTranslated"]["reason"] == "Translated"


def test_many_unknown_keys_are_counted() -> None:
    found = look(a_world("".join(f"mine_{number}: 1\n" for number in range(30))))["ConfigTranslated"]
    assert found["message"].endswith("mine_9 and 20 more")


def test_a_job_without_a_recipe_has_no_such_condition() -> None:
    world = World()
    world.act(decide_job(world.snapshot()))
    assert "ConfigTranslated" not in {one["type"] for one in world.status["conditions"]}
    assert "recipe" not in world.status


@pytest.mark.parametrize(
    ("source", "reason", "words"),
    [
        (RecipeSource(False), "ConfigMapNotFound", "names the ConfigMap 'recipe', which does not exist in namespace 'ml'"),
        (RecipeSource(True, ("a.yaml", "b.yaml")), "ConfigMapKeyMissing", "'config.yaml', and the ConfigMap 'recipe' has a.yaml"),
        (RecipeSource(True), "ConfigMapKeyMissing", "is empty"),
        (RecipeSource(True, ("config.yaml",), "rl: dpo\n"), "ConfigRefused", "rl: only supervised fine-tuning"),
        (RecipeSource(True, ("config.yaml",), "a: ["), "ConfigRefused", "it is not YAML"),
        (RecipeSource(True, ("config.yaml",), "num_epochs: 0\n"), "ConfigRefused", "not a whole number"),
    ],
)  # fmt: skip
def test_nothing_starts_on_a_recipe_that_is_not_understood(source: RecipeSource, reason: str, words: str) -> None:
    world = a_world()
    world.source = source
    for _ in range(3):
        found = look(world)
    assert world.created == []
    for type_ in ("ConfigTranslated", "ReferencesResolved"):
        assert (found[type_]["status"], found[type_]["reason"]) == ("False", reason)
        assert words in found[type_]["message"]
    assert words in world.status["message"]


def test_it_goes_on_by_itself_once_the_recipe_is_there() -> None:
    world = a_world()
    world.source = RecipeSource(False)
    assert decide_job(world.snapshot()).requeue_after is not None
    look(world)
    world.source = RecipeSource(True, ("config.yaml",), GOOD)
    look(world)
    look(world)
    assert world.created


@pytest.mark.parametrize("gone", [RecipeSource(False), RecipeSource(True, ("config.yaml",), "rl: dpo\n")])
def test_what_runs_goes_on_while_the_recipe_is_away(gone: RecipeSource) -> None:
    world = a_world()
    for _ in range(3):
        look(world)
    before = {run.name for run in world.running()}
    assert before
    world.source = gone
    decision = decide_job(world.snapshot())
    assert not any(isinstance(action, Delete) for action in decision.actions)
    world.act(decision)
    assert {run.name for run in world.running()} == before
    assert world.status["recipe"]["fields"]


def test_nothing_new_starts_while_the_recipe_is_away() -> None:
    world = a_world()
    for _ in range(3):
        look(world)
    [run] = world.running()
    world.source = RecipeSource(False)
    world.finish(run)
    look(world)
    look(world)
    assert world.running() == []
    world.source = RecipeSource(True, ("config.yaml",), GOOD)
    look(world)
    look(world)
    assert [run.stage.value for run in world.running()] == ["Train"]


def test_another_recipe_is_another_training() -> None:
    first, second = configs(a_world()), configs(a_world(GOOD.replace("num_epochs: 2", "num_epochs: 3")))
    assert first["Prepare"]["key"] == second["Prepare"]["key"]
    assert first["Train"]["key"] != second["Train"]["key"]


def test_the_same_settings_have_the_same_key_however_they_are_written() -> None:
    plain = FineTuneJob.model_validate(job_manifest())
    assert plain.spec.config_from is None
    written = World(spec={"hyperparameters": {"epochs": 2}})
    by_hand: dict[str, Any] = {}
    for _ in range(12):
        decision = decide_job(written.snapshot())
        for action in decision.actions:
            if isinstance(action, Create) and action.manifest["kind"] == "ConfigMap":
                config = json.loads(action.manifest["data"]["config.json"])
                by_hand[config["stage"]] = config
        written.act(decision)
        for run in written.running():
            written.finish(run)
    assert configs(a_world("num_epochs: 2\n"))["Train"]["key"] == by_hand["Train"]["key"]
