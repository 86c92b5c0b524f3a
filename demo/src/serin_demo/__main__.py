"""`python -m serin_demo`: the whole demo. The steps in order; how each works stands in its module."""

import argparse
import sys
from pathlib import Path

from serin_demo import data, plan, prepare, report, staging
from serin_demo.errors import DemoError
from serin_demo.kube import Kubectl
from serin_demo.prepare import Cluster
from serin_demo.progress import Progress
from serin_demo.stories import Player, Record

RESULT = prepare.REPOSITORY / "build" / "demo.json"
CLUSTER, INSTALL, STAGE, SCRATCH = (
    "Cluster and images",
    "Serin",
    "Data from this cluster's API",
    "A model to start from",
)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    stories = [story for story in plan.STORIES if story.name in options.stories]
    steps = [CLUSTER, INSTALL, STAGE, SCRATCH, plan.BASE.title, *(story.title for story in stories)]
    try:
        with Progress(steps) as progress:
            cluster, player = set_up(progress)
            records = play(player, stories)
            finish(cluster, records, options.result)
    except DemoError as error:
        print(f"\nThe demo stopped: {error}\nIt can be started again at any time: make demo", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The cluster stays as it is; start again at any time: make demo", file=sys.stderr)
        return 130
    return 0


def set_up(progress: Progress) -> tuple[Cluster, Player]:
    """Everything that the stories need: cluster, operator, a fresh namespace with data and a model to start from."""
    progress.step(CLUSTER)
    cluster = prepare.prepare_cluster(progress)
    progress.step(INSTALL)
    prepare.install_serin(cluster, progress)
    gateway = prepare.check_neighbours(cluster.kubectl, plan.NAMESPACE)
    progress.step(STAGE)
    kubectl = stage(cluster, progress, plan.NAMESPACE)
    progress.step(SCRATCH)
    staging.make_scratch_model(kubectl, cluster.images["trainer"], plan.SCRATCH_ARGUMENTS)
    return cluster, Player(kubectl, prepare.EXAMPLES, cluster.images["evaluator"], gateway, progress)


def stage(cluster: Cluster, progress: Progress, namespace: str) -> Kubectl:
    """A fresh namespace with volumes and data."""
    progress.tell(f"making namespace {namespace} anew")
    staging.fresh_namespace(cluster.kubectl, namespace)
    kubectl = cluster.kubectl.within(namespace)
    made = staging.make_data(kubectl)
    progress.tell(
        f"{made.rows[data.QUESTIONS]:,} questions, {made.rows[data.DESCRIPTIONS]:,} texts and"
        f" {made.rows[data.HELDOUT]:,} held-out questions made from this cluster's /openapi/v3"
    )
    staging.load_volumes(kubectl, prepare.EXAMPLES, cluster.images["trainer"], made.files)
    return kubectl


def play(player: Player, stories: list[plan.Story]) -> list[Record]:
    """The first model, then each story; the first one is told in a line, the others are in the table."""
    player.progress.step(plan.BASE.title)
    base = player.play_base()
    player.progress.show("\n".join(report.story_lines(base)))
    records = []
    for story in stories:
        player.progress.step(story.title)
        records.append(player.play(story))
        player.progress.show("\n".join(report.story_lines(records[-1])))
    return records


def finish(cluster: Cluster, records: list[Record], result: Path) -> None:
    """The table, build/demo.json, and what to look at."""
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(report.as_json(records))
    print(f"\n{report.table(records)}\n\n{cluster.kubectl.within(plan.NAMESPACE).overview()}")
    print(f"{report.closing(cluster.hint())}\n\nThe same as JSON: {result.relative_to(Path.cwd())}", flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serin_demo", description="Plays Serin's stories on a cluster.")
    names = [story.name for story in plan.STORIES]
    parser.add_argument("--stories", nargs="+", choices=names, default=names, help="which stories to play")
    parser.add_argument("--result", type=Path, default=RESULT, help="where the result is written as JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
