"""The command: python3 -m serin_devcluster <up|down|images|tools|status|doctor|check>. The Makefile's targets call it."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from serin_devcluster import addons, disk, gobuild, scratch, shell, status, teardown
from serin_devcluster.baseline import Baseline
from serin_devcluster.errors import DevclusterError
from serin_devcluster.graph import Runner, Task, clock_face, needed_for
from serin_devcluster.images import describe
from serin_devcluster.packages import missing_packages
from serin_devcluster.paths import Paths
from serin_devcluster.tasks import Tasks


def up(tasks: Tasks, arguments: argparse.Namespace) -> int:
    """Builds what is missing, starts what does not run, checks what does; with --bare without the product's images."""
    tasks.check_disk()
    began = time.monotonic()
    table = tasks.up()
    run_tasks(needed_for(table, ["ready"]) if arguments.bare else table, tasks)
    tasks.write_references()
    print(f"\nThe cluster is up after {clock_face(time.monotonic() - began)}.")
    print(f"  export KUBECONFIG={tasks.paths.kubeconfig}")
    print(f"  kubectl and helm lie in {gobuild.KUBERNETES.folder(tasks.paths)} and {gobuild.HELM.folder(tasks.paths)}")
    print(f"  gateway inside the cluster: {addons.GATEWAY_ADDRESS}   Prometheus: {addons.PROMETHEUS_ADDRESS}")
    print(
        f"  disk: {disk.used_gib(tasks.paths.cache):.1f} GB in {tasks.paths.cache}, {disk.free_gib(tasks.paths.cache):.0f} GB free"
    )
    return 0


def down(tasks: Tasks, _: argparse.Namespace) -> int:
    """Removes all traces of the cluster but the caches, and proves it."""
    left = teardown.down(tasks.node)
    if left:
        print("`down` could not remove everything:", *left, sep="\n  ", file=sys.stderr)
        print(f"  programs' logs: {tasks.paths.logs}", file=sys.stderr)
        return 1
    print(
        "The cluster is down: no process, mount, network device, rule or cgroup of it is left. Images and programs stay cached."
    )
    return 0


def check(tasks: Tasks, _: argparse.Namespace) -> int:
    """Lists what a cluster that is down left behind."""
    left = teardown.leftovers(tasks.paths, Baseline.read(tasks.node.baseline_file))
    print(*(left or ["nothing is left"]), sep="\n")
    return 1 if left else 0


def images(tasks: Tasks, arguments: argparse.Namespace) -> int:
    """Builds the images; with --refs only says what they are called."""
    if arguments.refs:
        print(json.dumps(tasks.catalog.loaded_references, indent=2))
        return 0
    tasks.check_disk()
    wanted = arguments.only or list(tasks.catalog.references)
    unknown = set(wanted) - set(tasks.catalog.references)
    if unknown:
        raise DevclusterError(
            f"there is no image {', '.join(sorted(unknown))}; there are {', '.join(tasks.catalog.references)}"
        )
    run_tasks(needed_for(tasks.build(), [f"image-{name}" for name in wanted]), tasks)
    print(describe({name: tasks.catalog.references[name] for name in wanted}))
    return 0


def tools(tasks: Tasks, arguments: argparse.Namespace) -> int:
    """Builds the Go programs; with --where only says where they are."""
    if not arguments.where:
        tasks.check_disk()
        wanted = arguments.only or [tool.name for tool in (*gobuild.TOOLS, *gobuild.FOR_TESTS)]
        run_tasks(needed_for(tasks.tools(gobuild.ALL), [f"tool-{name}" for name in wanted]), tasks)
    print(
        json.dumps(
            {program: str(tool.program(tasks.paths, program)) for program, tool in gobuild.OWNERS.items()}, indent=2
        )
    )
    return 0


def show_status(tasks: Tasks, _: argparse.Namespace) -> int:
    return status.show(tasks.node)


def doctor(tasks: Tasks, _: argparse.Namespace) -> int:
    """Says what this machine lacks before anything is tried."""
    problems = list(find_problems(tasks.paths))
    print(*(problems or ["this machine has what the cluster needs"]), sep="\n")
    return 1 if problems else 0


def find_problems(paths: Paths) -> Iterator[str]:
    if sys.platform != "linux":
        yield f"this is {sys.platform}: the cluster boots on Linux only; set KUBECONFIG to another cluster"
        return
    if os.geteuid() != 0:
        yield "not root: booting a node needs root"
    for complaint in (lambda: gobuild.go_version(), lambda: missing_packages()):
        try:
            complaint()
        except DevclusterError as error:
            yield str(error)
    for program in ("make", "python3"):
        if shutil.which(program) is None:
            yield f"no {program}: install it with apt-get"
    if (free := disk.free_gib(paths.cache)) < disk.COLD_GIB:
        yield f"{free:.1f} GB free for {paths.cache}: a first build needs {disk.COLD_GIB} GB"


COMMANDS: dict[str, Callable[[Tasks, argparse.Namespace], int]] = {
    "up": up,
    "down": down,
    "check": check,
    "images": images,
    "tools": tools,
    "status": show_status,
    "doctor": doctor,
}
CHANGES_THINGS = {"up", "down", "images", "tools"}


def run_tasks(table: Sequence[Task], tasks: Tasks) -> None:
    scratch.clean(tasks.paths)
    tasks.buildah.remove_abandoned()
    try:
        Runner(table).run()
    except BaseException:
        shell.stop_all()
        raise


@contextlib.contextmanager
def only_one(paths: Paths) -> Iterator[None]:
    """Two runs at once would build the same things; the second waits for the first."""
    paths.cache.mkdir(parents=True, exist_ok=True)
    with paths.lock.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run is at work on this cache; waiting for it to end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serin_devcluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.__doc__)
        if name in {"images", "tools"}:
            one.add_argument("only", nargs="*", help="just these, and what they need")
        if name == "up":
            one.add_argument("--bare", action="store_true", help="only what the node itself needs")
        if name == "images":
            one.add_argument("--refs", action="store_true", help="print the names as JSON and build nothing")
        if name == "tools":
            one.add_argument("--where", action="store_true", help="print the paths as JSON and build nothing")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    paths = Paths.default()
    reads_only = (
        arguments.command not in CHANGES_THINGS
        or getattr(arguments, "refs", False)
        or getattr(arguments, "where", False)
    )
    try:
        with contextlib.nullcontext() if reads_only else only_one(paths):
            return COMMANDS[arguments.command](Tasks(paths), arguments)
    except DevclusterError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: run the same command again, it goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
