"""The compose runtime: runs the pattern's compose files with `docker compose`."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from runtimes import api_keys, composefile, containers, engine, own_models, probes
from runtimes.base import (
    GRPC,
    HTTP,
    ServiceStatus,
    Stack,
    StackOptions,
    origin,
    print_progress,
    warn_of_open_entry,
    with_free_ports,
)
from runtimes.composefile import ComposeFile, ComposeService
from runtimes.containers import Container
from runtimes.errors import CommandFailed, ServiceExited, StackError, StackNotReady, StackNotRunning, UnknownName
from runtimes.load_failures import LoadWatch

_POLL_SECONDS = 0.5
_IMAGE_PROJECT = "serving-patterns"  # all images are built in this compose project
# The build arguments of each image that this process has built, so that many stacks do not build it again and again.
_built: dict[str, tuple[object, ...]] = {}


class ComposeStack(Stack):
    """A stack of containers. Its compose project is `sp-<name>`."""

    runtime = "compose"

    def __init__(self, options: StackOptions) -> None:
        super().__init__(options)
        self._project = f"sp-{self.name}"

    @property
    def _variables(self) -> dict[str, str]:
        return self.options.all_variables()

    def up(self, timeout_seconds: float = 120) -> str:
        keys = api_keys.variables(self.options.compose_file())
        self.replace()
        self.options = with_free_ports(self.options)
        file = self.options.compose_file()
        scale = [f"--scale={service}={number}" for service, number in self._scaled(file).items()]
        self.build()
        try:
            files = [*file.paths, *api_keys.options(file)]
            command = [*self._command(files), "up", "--detach", "--no-build", "--remove-orphans", *scale]
            self._start_all(command, self._variables | keys, timeout_seconds)
        except BaseException:
            self.down()
            raise
        return self.url()

    def build(self) -> None:
        file = self.options.compose_file()
        services = {service.image: service for service in reversed(file.services.values()) if service.built}
        # with a model that has no recipe, or that it downloads, the image is built in another way
        special = [one for one in services.values() if own_models.with_recipe(one) != one.models]
        usual = [one for one in services.values() if one not in special and _built.get(one.image) != _arguments(one)]
        if usual or special:
            print_progress(
                f"building the images of {self.name} (some minutes the first time, seconds if nothing changed)"
            )
        if usual:
            # Images are labelled with their project, so another project would build different images.
            names = [one.name for one in usual]
            engine.build([*self._command(file.paths, _IMAGE_PROJECT), "build", *names], self._variables)
            _built.update({one.image: _arguments(one) for one in usual})
        for one in special:
            _built.pop(one.image, None)
            own_models.build_service(one)

    def down(self) -> None:
        found = self._containers()
        for one in found:
            if one.state == "frozen":
                engine.run(["docker", "unpause", one.id])
        if found or engine.run(["docker", "network", "ls", "-q", "--filter", f"name=^{self._project}_"]):
            command = [*self._command([]), "down", "--volumes", "--remove-orphans"]
            engine.run(command, timeout_seconds=300)

    def is_up(self) -> bool:
        return bool(self._containers())

    def origin(self) -> str:
        found = [one for one in self._containers() if one.published]
        own = self.options.directory.resolve().parent
        return origin(own, found[0].checkout, found[0].model) if found else ""

    def replicas(self, service: str | None = None) -> list[str]:
        return [f"http://{one.address(HTTP)}" for one in self._running(service)]

    def grpc(self, service: str | None = None) -> str:
        return self._running(service)[0].address(GRPC)

    def stop(self, service: str) -> None:
        self._each(service, "stop", timeout_seconds=300)

    def signal(self, service: str, signum: int) -> None:
        self._each(service, "kill", "--signal", signal.Signals(signum).name)

    def kill(self, service: str) -> None:
        self._each(service, "kill")
        self._each(service, "wait")

    def start(self, service: str, timeout_seconds: float = 60, wait: bool = True) -> None:
        self._each(service, "start")
        deadline, watch = time.monotonic() + timeout_seconds, LoadWatch(print_progress)
        while wait and (late := [one for one in self._find(service) if one.state != "ready"]):
            self._require_progress(late, deadline, timeout_seconds, watch)
            time.sleep(_POLL_SECONDS)

    def freeze(self, service: str) -> None:
        self._each(service, "pause")

    def thaw(self, service: str) -> None:
        self._each(service, "unpause")

    def logs(self, service: str | None = None, follow: bool = False) -> Iterator[str]:
        chosen = self._find(service) if service else self._all()
        names = sorted({one.service for one in chosen})
        command = [*self._command([]), "logs", "--no-color", *(["--follow"] if follow else []), *names]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                for line in process.stdout or []:
                    yield line.rstrip("\n")
            finally:
                process.terminate()

    def status(self) -> list[ServiceStatus]:
        return [containers.status(one) for one in self._containers()]

    def _scaled(self, file: ComposeFile) -> Mapping[str, int]:
        """The numbers of replicas that were asked for. Raises StackError for a service that has ports of the host."""
        for service, number in self.options.replicas.items():
            if number > 1 and file.services[service].ports:
                known = ", ".join(composefile.variants(self.options.directory, self.options.pattern)) or "none"
                raise StackError(
                    f"{service} cannot have {number} replicas, because they would share a port of this machine; "
                    f"use a variant with a balancer (the variants are: {known}), or RUNTIME=local"
                )
        return self.options.replicas

    def _command(self, files: list[Path], project: str = "") -> list[str]:
        named = [word for path in files for word in ("-f", str(path))]
        return ["docker", "compose", "-p", project or self._project, *named]

    def _start_all(self, command: list[str], variables: Mapping[str, str], timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                command, env=engine.environment(variables), stdout=output, stderr=output, start_new_session=True
            )
            try:
                self._wait_ready(process, command, output, deadline, timeout_seconds)
            finally:
                process.kill()
                process.wait()
        warn_of_open_entry(self.options)
        print_progress(f"{self.name} is ready, with {', '.join(one.name for one in self._containers())}")

    def _wait_ready(
        self,
        process: subprocess.Popen[bytes],
        command: list[str],
        output: IO[str],
        deadline: float,
        timeout_seconds: float,
    ) -> None:
        """Wait until all containers are ready. Compose itself would wait forever for a container that keeps exiting."""
        watch = LoadWatch(print_progress)
        while True:
            ended = process.poll()
            found = self._containers()
            late = [one for one in found if one.state != "ready"]
            self._require_progress(late, deadline, timeout_seconds, watch)
            if ended:
                output.seek(0)
                raise CommandFailed(command, ended, output.read()[-2000:])
            if ended == 0 and not late:
                return
            time.sleep(_POLL_SECONDS)

    def _require_progress(
        self, late: list[Container], deadline: float, timeout_seconds: float, watch: LoadWatch
    ) -> None:
        for one in late:
            if one.crashed:
                raise ServiceExited(one.name, containers.how_it_ended(one), containers.last_lines(one))
            if one.ip:
                watch.check(one.name, probes.unready_answer(HTTP, one.ip))
        if time.monotonic() > deadline:
            names = ", ".join(one.name for one in late) or self.name
            reason = probes.http_ready(HTTP, host=late[0].ip) if late and late[0].ip else "it was not started"
            raise StackNotReady(names, timeout_seconds, reason, containers.last_lines(late[0]) if late else "")

    def _containers(self) -> list[Container]:
        return containers.of_project(self._project)

    def _all(self) -> list[Container]:
        found = self._containers()
        if not found:
            raise StackNotRunning(self.name, self.options.pattern)
        return found

    def _find(self, service: str | None) -> list[Container]:
        """The containers of a service or of one replica; None: of the entry."""
        known = self._all()
        if service is None:
            return [one for one in known if one.published]
        found = [one for one in known if service in (one.service, one.name)]
        if not found:
            raise UnknownName("service", service, [one.name for one in known])
        return found

    def _running(self, service: str | None) -> list[Container]:
        found = self._find(service)
        return [one for one in found if one.state != "exited"] or found

    def _each(self, service: str, *verb: str, timeout_seconds: float = 60) -> None:
        engine.run(["docker", *verb, *[one.id for one in self._find(service)]], timeout_seconds=timeout_seconds)


def _arguments(service: ComposeService) -> tuple[object, ...]:
    """What an image is built with, besides the sources."""
    return service.target, service.args, service.models
