"""Runs the checkout's tests inside a built image: `python3 -m serin_devcluster.in_image trainer -- pytest arguments`.

What is tested is the very file system that pods get; only the checkout and pytest are mounted beside it. The torch stack
is not installed a second time on the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from serin_devcluster.buildah import Buildah
from serin_devcluster.errors import DevclusterError
from serin_devcluster.images import Catalog
from serin_devcluster.keys import key_of
from serin_devcluster.paths import CHECKOUT, Paths

# Pure Python, so one folder serves every image.
TEST_TOOLS = ("pytest==9.2.0", "pytest-asyncio==1.5.0", "pytest-rerunfailures==16.7")
CHECKOUT_INSIDE = "/checkout"
TOOLS_INSIDE = "/test-tools"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="serin_devcluster.in_image", description=__doc__)
    parser.add_argument("image", help="trainer, evaluator or server")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, behind --")
    given = parser.parse_args(arguments)
    try:
        return run_pytest(Paths.default(), given.image, given.pytest)
    except DevclusterError as error:
        print(f"in_image: {error}", file=sys.stderr)
        return 1


def run_pytest(paths: Paths, name: str, arguments: list[str]) -> int:
    """pytest's exit code."""
    buildah = Buildah(paths)
    reference = Catalog().references[name]
    if not buildah.has(reference):
        raise DevclusterError(f"the image {name} is not built in its present state; run `make images ONLY={name}`")
    tools = test_tools(paths)
    container = buildah.call("from", "--pull-never", "--name", f"in-image.{os.getpid()}", reference).strip()
    try:
        mounts = ["--volume", f"{CHECKOUT}:{CHECKOUT_INSIDE}:ro", "--volume", f"{tools}:{TOOLS_INSIDE}:ro"]
        python = ["env", f"PYTHONPATH={TOOLS_INSIDE}", "python", "-m", "pytest", "-p", "no:cacheprovider"]
        config = ["-c", f"{CHECKOUT_INSIDE}/tests/images/pytest.ini", "--rootdir", f"{CHECKOUT_INSIDE}/tests/images"]
        flags = ["--isolation", "chroot", "--workingdir", "/tmp", *mounts]
        return subprocess.run(
            [*buildah.command("run", *flags, container, "--", *python, *config, *arguments)],
            env={**os.environ, **buildah.environment()},
            check=False,
        ).returncode
    finally:
        buildah.call("rm", container)


def test_tools(paths: Paths) -> Path:
    """pytest in a folder of its own, made once."""
    folder = paths.cache / "tools" / f"pytest-{key_of(*TEST_TOOLS)}"
    if folder.exists():
        return folder
    fresh = paths.scratch / f"{folder.name}.{os.getpid()}"
    fresh.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(fresh), *TEST_TOOLS]
    if subprocess.run(command, check=False).returncode != 0:
        raise DevclusterError("pytest could not be installed for the images; is the Python package index reachable?")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh.rename(folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
