"""The numbers of the Kubernetes runtime: a NodePort against a published port, the start, a rolling update.

Both ways lead to the same image of web_single. A process of a container gets the server's core where this machine runs
it and this user may say so; what carries the packets (the kernel, docker-proxy) and the cluster's own services run
where they like.
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
from bench.messages import Model, ask, iris_rows, json_body, post
from bench.plan import LOCAL, Plan, Result
from bench.process import ROOT, Bay, BenchError, on_core
from bench.report import Number, Part, Setting
from bench.rivals.ort_alone import expected_outputs
from bench.suite import Bench, Chapter, Parts, at_connections, times
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
def told_in_one_line() -> Iterator[None]:
    """What a runtime cannot do, no cluster among it, as a BenchError."""
    try:
        yield
    except StackError as error:
        raise BenchError(" ".join(str(error).split())) from None


@contextmanager
def up(runtime: str, variant: str | None = None) -> Iterator[Stack]:
    """web_single in a runtime, under a name that nobody else has, until the block is left."""
    name = f"bench-{os.getpid()}"
    with Stack.create(PATTERN, runtime, variant, port=0, name=name, env={"MODEL": MODEL}) as stack:
        yield stack


def require_cluster() -> None:
    """StackError at once, rather than after the other stack was started."""
    cluster.kubectl("get", "--raw", "/readyz")


def port_of(stack: Stack) -> int:
    """Where its entry answers."""
    host, _, port = stack.url().removeprefix("http://").partition(":")
    if host != LOCAL:
        raise BenchError(f"load goes to {LOCAL} alone, and the cluster's nodes answer at {host}")
    return int(port)


def container_ids(stack: Stack) -> list[str]:
    """The containers of a stack, as the processes' control groups call them."""
    if stack.runtime == "compose":
        label = f"label=com.docker.compose.project=sp-{stack.name}"
        return engine.run(["docker", "ps", "--quiet", "--no-trunc", "--filter", label]).split()
    told = cluster.kubectl("--namespace", f"sp-{stack.name}", "get", "pods", "--output", CONTAINER_IDS)
    return [one.rpartition("/")[2] for one in told.split()]


def processes_of(stack: Stack) -> list[psutil.Process]:
    """The processes in its containers; none where another machine runs them."""
    ids, found = container_ids(stack), []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if any(one in Path(f"/proc/{process.pid}/cgroup").read_text() for one in ids):
                found.append(process)
    return found


def pin(stacks: Sequence[Sequence[psutil.Process]], core: int) -> bool:
    """Whether every stack has processes here and all of their threads stay on this core from now on."""
    try:
        for process in (one for processes in stacks for one in processes if all(stacks)):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, {core})
    except (OSError, psutil.Error):
        return False
    return all(stacks)


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Processor time that they have used so far."""
    return sum(float(used.user + used.system) for used in (one.cpu_times() for one in processes))


def under_load(name: str, bay: Bay, stack: Stack, requests: Sequence[bytes], connections: int) -> Contestant:
    """A stack's entry under closed-loop load; it is not halted between its turns, or its probes would end it."""
    plan = Plan(port=port_of(stack), requests=list(requests), connections=connections, seconds=1.0)
    processes = processes_of(stack)

    def turn(pace: Pace) -> Result:
        before = cpu_seconds(processes)
        result = bay.load(paced(plan, pace))
        spent = cpu_seconds(processes) - before
        return msgspec.structs.replace(result, server_cpu=spent / max(1, result.answered_in_all))

    return Contestant(name, turn)


def require_same_image(published: Stack, node_port: Stack) -> None:
    """BenchError when one was built after the other from something else; the pod's tag ends with what is in it."""
    content = engine.run(["docker", "inspect", "--format", "{{.Image}}", *container_ids(published)]).strip()
    (pod,) = cluster.Namespace(f"sp-{node_port.name}").pods()
    if not content.removeprefix("sha256:").startswith(pod.image.rpartition("-")[2]):
        raise BenchError(f"compose runs another image than the pod's {pod.image}: was something changed meanwhile?")


def check(name: str, stack: Stack, model: Model) -> None:
    """Compare one answer with the model's own."""
    row = iris_rows(1)[0]
    answer = ask(port_of(stack), model.infer_path, *json_body(model, row))
    refuse_other_outputs(name, answer, expected_outputs(str(model.file), row))


@told_in_one_line()
def ways_in_part(bench: Bench) -> Part:
    """One iris row in JSON through the Service's NodePort, and through compose's published port, both stacks up."""
    require_cluster()
    model = bench.model(MODEL)
    requests = iris_requests(model)
    with bench.bay() as bay, up("compose") as published, up("kubernetes") as node_port:
        stacks = {NODE_PORT: node_port, PUBLISHED: published}
        require_same_image(published, node_port)
        for name, stack in stacks.items():
            check(name, stack, model)
        pinned = pin([processes_of(stack) for stack in stacks.values()], bench.cores.server)
        settings = [
            bench.compare(
                connections,
                [under_load(name, bay, stack, requests, connections) for name, stack in stacks.items()],
                shared=not pinned,
            )
            for connections in CONNECTIONS
        ]
    title = f"One iris row, JSON, {'a core for the servers' if pinned else 'servers not pinned'}"
    return Part("ways_in", title, [against_published(one) for one in settings], settings)


def against_published(setting: Setting) -> Number:
    """Throughput by the one way in units of the other's."""
    text = f"JSON, {at_connections(setting.connections)}: NodePort against compose's published port"
    return times(text, setting, NODE_PORT, PUBLISHED, PORT_TARGET)


def applies(pid: int) -> bool:
    """Whether a command runs `kubectl apply` now."""
    with suppress(psutil.Error):
        return any("apply" in one.cmdline() for one in psutil.Process(pid).children(recursive=True))
    return False


def timed_up(log: Path) -> tuple[float, float, float]:
    """`make up` as a person runs it: seconds for checking the images, for applying, and from then to its end."""
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


@told_in_one_line()
def up_part(bench: Bench) -> Part:
    """Seconds that `make up` takes to ready, with its images in the cluster already."""
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
        bench.told()
    checked, applied, ready = (median(column) for column in zip(*found, strict=True))
    split = f"images checked {checked:.1f} s, applied {applied:.1f} s, ready {ready:.1f} s"
    text = f"make up, images in the cluster ({split})"
    return Part("up", "Start", [Number(text, Spread.of([sum(one) for one in found]), UP_SECONDS, False, " s")])


class Trickle:
    """A light load: one question after the other with a pause between, a new connection each; counts the failures."""

    def __init__(self, port: int, model: Model) -> None:
        self.port, self.path, self.asked = port, model.infer_path, json_body(model, iris_rows(1)[0])
        self.answered = self.failed = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        """Ask until it is over."""
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
    """Seconds until every pod of `api` is a new one and ready; the old ones may still be draining."""
    kubectl, began = cluster.Namespace(namespace).kubectl, time.perf_counter()
    kubectl("rollout", "restart", "deployment/api")
    kubectl("rollout", "status", "deployment/api", timeout_seconds=LONGEST_ROLL_SECONDS)
    return time.perf_counter() - began


def await_drained(space: cluster.Namespace) -> None:
    """Until those that leave are gone."""
    deadline = time.perf_counter() + LONGEST_ROLL_SECONDS
    while any(pod.terminating for pod in space.pods()):
        if time.perf_counter() > deadline:
            raise BenchError(f"a pod of {space.name} does not end")
        time.sleep(LOOK_SECONDS)


@told_in_one_line()
def roll_part(bench: Bench) -> Part:
    """Two replicas replaced one after the other while they are asked, some twenty times a second."""
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
            bench.told()
    number = Number("rolling update of two replicas", Spread.of(found), ROLL_SECONDS, False, " s", failed)
    return Part("roll", "Rolling update", [number])


PARTS: Parts = {
    "ways_in": Chapter(ways_in_part, lambda pace: 2 * len(CONNECTIONS) * pace.rounds),
    "up": Chapter(up_part, lambda pace: pace.starts),
    "roll": Chapter(roll_part, lambda pace: pace.starts),
}
