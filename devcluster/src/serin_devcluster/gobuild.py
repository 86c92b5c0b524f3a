"""Builds the cluster's programs from published Go modules into the cache, keyed by what they are built from.

Each tool has a folder with a go.mod and a go.sum of its own below devcluster/go, since their dependencies disagree.
What is not its business: which tools the cluster needs and when; see graph.py and tasks.py.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from serin_devcluster.errors import DevclusterError
from serin_devcluster.keys import file_parts, key_of
from serin_devcluster.paths import GO_MODULES, Paths
from serin_devcluster.scratch import unfinished
from serin_devcluster.shell import run

KUBERNETES_VERSION = "v1.34.4"
KUBERNETES_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
)
# Without cgo the result does not depend on whether the machine has a C compiler, and runs in any image.
GO_ENV = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


@dataclass(frozen=True)
class GoTool:
    """Programs built from one go.mod: file name -> package."""

    name: str
    programs: dict[str, str]
    linker_variables: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    modules: Path | None = None  # the folder that holds the folder with the go.mod, when it is not the cluster's

    @property
    def module(self) -> Path:
        return (self.modules or GO_MODULES) / self.name

    @property
    def linker_flags(self) -> str:
        return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.linker_variables.items())])

    @property
    def tag_flags(self) -> list[str]:
        return ["-tags", ",".join(self.tags)] if self.tags else []

    def key(self) -> str:
        sources = ["go.mod", "go.sum", *(["*.go"] if any(self.module.glob("*.go")) else [])]
        programs = [f"{name}={package}" for name, package in sorted(self.programs.items())]
        return key_of(go_version(), self.linker_flags, *self.tag_flags, *programs, *file_parts(self.module, sources))

    def folder(self, paths: Paths) -> Path:
        return paths.binaries / f"{self.name}-{self.key()}"

    def program(self, paths: Paths, name: str) -> Path:
        return self.folder(paths) / name

    def is_built(self, paths: Paths) -> bool:
        return all(self.program(paths, name).exists() for name in self.programs)


def kubernetes_version_variables(version: str) -> dict[str, str]:
    """What `kubectl version` and the apiserver's /version say."""
    major, minor, _ = version.removeprefix("v").split(".")
    package = "k8s.io/component-base/version"
    return {f"{package}.gitVersion": version, f"{package}.gitMajor": major, f"{package}.gitMinor": minor}


ETCD = GoTool("etcd", {"etcd": "go.etcd.io/etcd/server/v3"})
KUBERNETES = GoTool(
    "kubernetes",
    {name: f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_PROGRAMS},
    kubernetes_version_variables(KUBERNETES_VERSION),
)
COREDNS = GoTool("coredns", {"coredns": "."})
CONTOUR = GoTool("contour", {"contour": "github.com/projectcontour/contour/cmd/contour"})
HELM = GoTool("helm", {"helm": "helm.sh/helm/v3/cmd/helm"})
LOCAL_PATH = GoTool("local-path", {"local-path-provisioner": "github.com/rancher/local-path-provisioner"})
# Debian's Prometheus is built without the discovery of pods; this one is built with that and no cloud's.
PROMETHEUS = GoTool(
    "prometheus",
    {"prometheus": "github.com/prometheus/prometheus/cmd/prometheus"},
    tags=("remove_all_sd", "enable_kubernetes_sd"),
)
# An S3 server over a folder, which tests of s3:// read from.
VERSITYGW = GoTool("versitygw", {"versitygw": "github.com/versity/versitygw/cmd/versitygw"})
# Kueue as its release is: the version is what its log and its metrics say.
KUEUE = GoTool(
    "kueue",
    {"kueue": "sigs.k8s.io/kueue/cmd/kueue"},
    {"sigs.k8s.io/kueue/pkg/version.GitVersion": "v0.14.0"},
)
TOOLS = (ETCD, KUBERNETES, COREDNS, CONTOUR, LOCAL_PATH, PROMETHEUS, HELM)
FOR_TESTS = (VERSITYGW,)  # no cluster waits for these
ON_DEMAND = (KUEUE,)  # minutes of compiling for one room of tests: built only when it is named
ALL = (*TOOLS, *FOR_TESTS, *ON_DEMAND)
OWNERS = {program: tool for tool in ALL for program in tool.programs}


def find_program(paths: Paths, name: str) -> Path:
    """The built program, or an error that says how to build it."""
    tool = OWNERS[name]
    program = tool.program(paths, name)
    if not program.exists():
        target = tool.name if tool in ON_DEMAND else "tools"
        raise DevclusterError(f"{name} is not built ({program} is missing): run `make {target}` first")
    return program


def fetch(tool: GoTool) -> None:
    """Downloads just the modules that the programs are compiled from, so that compiling does not wait for the network."""
    run(
        [go(), "list", "-mod=readonly", "-deps", *tool.tag_flags, "-f", "", *tool.programs.values()],
        cwd=tool.module,
        env=GO_ENV,
    )


def build(tool: GoTool, paths: Paths) -> None:
    """Builds beside the final place and renames: an interrupted build leaves nothing that looks complete."""
    target = tool.folder(paths)
    if tool.is_built(paths):
        return
    place = unfinished(paths, target.name)
    place.mkdir()
    flags = ["-trimpath", "-buildvcs=false", "-mod=readonly", *tool.tag_flags, "-ldflags", tool.linker_flags]
    # The package's folder names the program when several are built at once; one alone is named by us (etcd is "v3").
    output = f"{place}/" if len(tool.programs) > 1 else str(place / next(iter(tool.programs)))
    log = paths.cache / "log" / f"build-{tool.name}.log"
    run(
        ["nice", "-n", "5", go(), "build", *flags, "-o", output, *tool.programs.values()],
        cwd=tool.module,
        env=GO_ENV,
        log=log,
    )
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    place.rename(target)
    drop_other_versions(tool, paths)


def drop_other_versions(tool: GoTool, paths: Paths) -> None:
    """Old builds of the same tool; Go's build cache makes going back cheap."""
    current = tool.folder(paths).name
    ours = re.compile(rf"{re.escape(tool.name)}-[0-9a-f]{{12}}")
    for other in paths.binaries.iterdir():
        if ours.fullmatch(other.name) and other.name != current:
            shutil.rmtree(other, ignore_errors=True)


def module_folder(tool: GoTool, module: str) -> Path:
    """Where the Go module cache holds a module's sources, its example manifests among them; fetched when they are gone."""
    answer = json.loads(run([go(), "mod", "download", "-json", module], cwd=tool.module, env=GO_ENV))
    return Path(answer["Dir"])


@cache
def go() -> str:
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is None:
        raise DevclusterError(
            "no `go` on the PATH: install Go 1.24 or newer from https://go.dev/dl/ and run this again"
        )
    return found


@cache
def go_version() -> str:
    """The toolchain's version; part of each key."""
    return (
        run([go(), "env", "GOVERSION", "GOARCH"], cwd=GO_MODULES / "kubernetes", env=GO_ENV).replace("\n", " ").strip()
    )
