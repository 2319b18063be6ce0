"""Measurements of the Kubernetes runtime: a NodePort against a published port, the start, a rolling update.

Both ports lead to the same image of web_single. The processes of its containers are pinned to the server's core where
this machine runs them and the user may pin them. What carries the packets (the kernel, docker-proxy) and the cluster's
own services are not pinned.
"""

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from statistics import median

import msgspec
import psutil

from bench.contestants import paced, refuse_other_outputs
from bench.measure import Contestant, Pace, Spread
from bench.messages import Model, infer_over_http, iris_rows, json_body, post
from bench.plan import LOCAL, Plan, Result
from bench.process import ROOT, BenchError, ServerGroup, on_core
from bench.report import Number, Part, Setting
from bench.rivals.ort_alone import expected_outputs
from bench.suite import Bench, PartRunner, Parts, at_connections, times
from bench.web_single import iris_requests
from runtimes import cluster, engine
from runtimes.base import Stack
from runtimes.errors import StackError

PATTERN, MODEL = "web_single", "iris"
NODE_PORT, PUBLISHED = "ours, NodePort", "compose, published port"
CONNECTIONS = (32, 1)
PORT_TARGET = 0.8
UP_SECONDS, ROLL_SECONDS = 15.0, 20.0
LONGEST_UP_SECONDS, LONGEST_ROLL_SECONDS = 300.0, 120.0
LOOK_SECONDS = 0.1
PAUSE_SECONDS = 0.05
CONTAINER_IDS = "jsonpath={.items[*].status.containerStatuses[*].containerID}"


@contextmanager
def as_bench_error() -> Iterator[None]:
    """Turn a StackError, such as a missing cluster, into a BenchError."""
    try:
        yield
    except StackError as error:
        raise BenchError(" ".join(str(error).split())) from None


@contextmanager
def up(runtime: str, variant: str | None = None) -> Iterator[Stack]:
    """Run web_single in a runtime under a unique name until the block ends."""
    name = f"bench-{os.getpid()}"
    with Stack.create(PATTERN, runtime, variant, port=0, name=name, env={"MODEL": MODEL}) as stack:
        yield stack


def require_cluster() -> None:
    """Raise StackError before anything is started when there is no cluster."""
    cluster.kubectl("get", "--raw", "/readyz")


def port_of(stack: Stack) -> int:
    """The port of its entry service."""
    host, _, port = stack.url().removeprefix("http://").partition(":")
    if host != LOCAL:
        raise BenchError(f"load goes to {LOCAL} alone, and the cluster's nodes answer at {host}")
    return int(port)


def container_ids(stack: Stack) -> list[str]:
    """Ids of a stack's containers, as they appear in the control groups of processes."""
    if stack.runtime == "compose":
        label = f"label=com.docker.compose.project=sp-{stack.name}"
        return engine.run(["docker", "ps", "--quiet", "--no-trunc", "--filter", label]).split()
    listed = cluster.kubectl("--namespace", f"sp-{stack.name}", "get", "pods", "--output", CONTAINER_IDS)
    return [one.rpartition("/")[2] for one in listed.split()]


def processes_of(stack: Stack) -> list[psutil.Process]:
    """The processes in a stack's containers; none when they run on another machine."""
    ids, found = container_ids(stack), []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if any(one in Path(f"/proc/{process.pid}/cgroup").read_text() for one in ids):
                found.append(process)
    return found


def pin(stacks: Sequence[Sequence[psutil.Process]], core: int) -> bool:
    """Pin all threads of the stacks' processes to a core; False when a stack has no process on this machine."""
    try:
        for process in (one for processes in stacks for one in processes if all(stacks)):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, {core})
    except (OSError, psutil.Error):
        return False
    return all(stacks)


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """CPU seconds that these processes have used so far."""
    return sum(float(used.user + used.system) for used in (one.cpu_times() for one in processes))


def under_load(name: str, group: ServerGroup, stack: Stack, requests: Sequence[bytes], connections: int) -> Contestant:
    """A stack's entry under closed-loop load. It is not stopped between turns, because its probes would fail."""
    plan = Plan(port=port_of(stack), requests=list(requests), connections=connections, seconds=1.0)
    processes = processes_of(stack)

    def turn(pace: Pace) -> Result:
        before = cpu_seconds(processes)
        result = group.load(paced(plan, pace))
        spent = cpu_seconds(processes) - before
        return msgspec.structs.replace(result, server_cpu=spent / max(1, result.answered_in_all))

    return Contestant(name, turn)


def require_same_image(published: Stack, node_port: Stack) -> None:
    """Raise BenchError unless both stacks run the same image; the pod's tag ends with the image's content hash."""
    content = engine.run(["docker", "inspect", "--format", "{{.Image}}", *container_ids(published)]).strip()
    (pod,) = cluster.Namespace(f"sp-{node_port.name}").pods()
    if not content.removeprefix("sha256:").startswith(pod.image.rpartition("-")[2]):
        raise BenchError(f"compose runs another image than the pod's {pod.image}: was something changed meanwhile?")


def check(name: str, stack: Stack, model: Model) -> None:
    """Compare the outputs of one request with the model's. Raises BenchError."""
    row = iris_rows(1)[0]
    answer = infer_over_http(port_of(stack), model.infer_path, *json_body(model, row))
    refuse_other_outputs(name, answer, expected_outputs(str(model.file), row))


@as_bench_error()
def ways_in_part(bench: Bench) -> Part:
    """One iris row in JSON through the Service's NodePort and through compose's published port, with both stacks up."""
    require_cluster()
    model = bench.model(MODEL)
    requests = iris_requests(model)
    with bench.server_group() as group, up("compose") as published, up("kubernetes") as node_port:
        stacks = {NODE_PORT: node_port, PUBLISHED: published}
        require_same_image(published, node_port)
        for name, stack in stacks.items():
            check(name, stack, model)
        pinned = pin([processes_of(stack) for stack in stacks.values()], bench.cores.server)
        settings = [
            bench.compare(
                connections,
                [under_load(name, group, stack, requests, connections) for name, stack in stacks.items()],
                shared=not pinned,
            )
            for connections in CONNECTIONS
        ]
    title = f"One iris row, JSON, {'a core for the servers' if pinned else 'servers not pinned'}"
    return Part("ways_in", title, [against_published(one) for one in settings], settings)


def against_published(setting: Setting) -> Number:
    """Throughput through the NodePort divided by throughput through the published port."""
    text = f"JSON, {at_connections(setting.connections)}: NodePort against compose's published port"
    return times(text, setting, NODE_PORT, PUBLISHED, PORT_TARGET)


def applies(pid: int) -> bool:
    """Whether a command is running `kubectl apply` now."""
    with suppress(psutil.Error):
        return any("apply" in one.cmdline() for one in psutil.Process(pid).children(recursive=True))
    return False


def timed_up(log: Path) -> tuple[float, float, float]:
    """Run `make up`: seconds for checking the images, for `kubectl apply`, and from then until it ends."""
    command = ["make", "--silent", "up", f"PATTERN={PATTERN}", "RUNTIME=kubernetes"]
    environment = os.environ | {"MODEL": MODEL}
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        seen: list[float] = []
        while process.poll() is None:
            if applies(process.pid):
                seen.append(time.perf_counter())
            if time.perf_counter() - began > LONGEST_UP_SECONDS:
                process.terminate()
            time.sleep(LOOK_SECONDS)
        ended = time.perf_counter()
    if process.returncode or not seen:
        raise BenchError(f"make up ended with {process.returncode}: {log.read_text()[-500:]}")
    return seen[0] - began, seen[-1] - seen[0], ended - seen[-1]


@as_bench_error()
def up_part(bench: Bench) -> Part:
    """Seconds that `make up` takes until ready, with the images already in the cluster."""
    require_cluster()
    stack = Stack.create(PATTERN, "kubernetes", env={"MODEL": MODEL})
    if stack.is_up():
        raise BenchError(f"sp-{stack.name} is in use; end it first: make down PATTERN={PATTERN} RUNTIME=kubernetes")
    stack.build()
    found: list[tuple[float, float, float]] = []
    for _ in range(bench.pace.starts):
        try:
            with on_core(*bench.cores.both):
                found.append(timed_up(bench.logs / "up.log"))
        finally:
            stack.down()
        bench.turn_done()
    checked, applied, ready = (median(column) for column in zip(*found, strict=True))
    split = f"images checked {checked:.1f} s, applied {applied:.1f} s, ready {ready:.1f} s"
    text = f"make up, images in the cluster ({split})"
    return Part("up", "Start", [Number(text, Spread.of([sum(one) for one in found]), UP_SECONDS, False, " s")])


class Trickle:
    """A light load: one request after the other on new connections, with a pause between them; counts failures."""

    def __init__(self, port: int, model: Model) -> None:
        self.port, self.path, self.asked = port, model.infer_path, json_body(model, iris_rows(1)[0])
        self.answered = self.failed = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        """Send requests until stopped."""
        while not self.over.wait(PAUSE_SECONDS):
            try:
                post(self.port, self.path, *self.asked)
                self.answered += 1
            except (BenchError, OSError, HTTPException):
                self.failed += 1

    def __enter__(self) -> "Trickle":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


def roll(namespace: str) -> float:
    """Seconds until every pod of `api` is new and ready; old pods may still be draining."""
    kubectl, began = cluster.Namespace(namespace).kubectl, time.perf_counter()
    kubectl("rollout", "restart", "deployment/api")
    kubectl("rollout", "status", "deployment/api", timeout_seconds=LONGEST_ROLL_SECONDS)
    return time.perf_counter() - began


def await_drained(space: cluster.Namespace) -> None:
    """Wait until the old pods are gone."""
    deadline = time.perf_counter() + LONGEST_ROLL_SECONDS
    while any(pod.terminating for pod in space.pods()):
        if time.perf_counter() > deadline:
            raise BenchError(f"a pod of {space.name} does not end")
        time.sleep(LOOK_SECONDS)


@as_bench_error()
def roll_part(bench: Bench) -> Part:
    """Replace two replicas one after the other under about twenty requests a second."""
    require_cluster()
    found: list[float] = []
    failed = 0
    with up("kubernetes", "replicas") as stack:
        space = cluster.Namespace(f"sp-{stack.name}")
        for _ in range(bench.pace.starts):
            with Trickle(port_of(stack), bench.model(MODEL)) as load:
                found.append(roll(space.name))
                await_drained(space)
            failed += load.failed
            if not load.answered:
                raise BenchError("the stack gave no good answer while it was rolled")
            bench.turn_done()
    number = Number("rolling update of two replicas", Spread.of(found), ROLL_SECONDS, False, " s", failed)
    return Part("roll", "Rolling update", [number])


PARTS: Parts = {
    "ways_in": PartRunner(ways_in_part, lambda pace: 2 * len(CONNECTIONS) * pace.rounds),
    "up": PartRunner(up_part, lambda pace: pace.starts),
    "roll": PartRunner(roll_part, lambda pace: pace.starts),
}
