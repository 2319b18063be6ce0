"""Errors of stacks. Each message says what was found, and what to do.

StackError
├── UnknownName             no pattern, variant, service, runtime or setting has this name
├── EngineUnavailable       the runtime's engine is not installed or not running
│   └── ClusterUnavailable  no Kubernetes cluster is reachable
├── ImageNotFound           the cluster cannot pull an image
├── NodePortUnreachable     the node ports of the cluster are not reachable from this host
├── NoLocalSubstitute       the local runtime cannot run an image
├── CommandFailed           a command of an engine or a build failed
├── PortInUse               another process uses a port of the entry
├── ServiceExited           a service exited while it was expected to run
├── ModelNotLoaded          a service runs, but cannot load a model
├── StackNotReady           a service did not become ready before the timeout
└── StackNotRunning         the stack is not running
"""


class StackError(Exception):
    """An error that the command line prints as one message, without a traceback."""


def variables_of(pattern: str, name: str) -> str:
    """The variables that name a stack for make."""
    return f"PATTERN={pattern}" + ("" if name == pattern.replace("_", "-") else f" STACK={name}")


class UnknownName(StackError):
    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}; expected one of: {', '.join(sorted(known)) or '(none)'}")


class EngineUnavailable(StackError):
    pass


class NoLocalSubstitute(StackError):
    def __init__(self, service: str, image: str, hint: str = "") -> None:
        reason = hint or f"the local runtime has no substitute for the image {image}"
        super().__init__(f"{service}: {reason}; use RUNTIME=compose")


class CommandFailed(StackError):
    def __init__(self, command: list[str], code: int, output: str) -> None:
        super().__init__(f"`{' '.join(command)}` failed with exit code {code}:\n{output.strip()}")
        self.code, self.output = code, output


class PortInUse(StackError):
    def __init__(self, port: int, owner: str, pattern: str, other: int) -> None:
        super().__init__(
            f"port {port} is in use by {owner}; stop that, or use another port: make up PATTERN={pattern} PORT={other}"
        )


class ServiceExited(StackError):
    def __init__(self, service: str, how: str, last_lines: str) -> None:
        super().__init__(f"{service} {how}; its last log lines:\n{last_lines or '(none)'}")


class ModelNotLoaded(StackError):
    def __init__(self, service: str, model: str, reason: str) -> None:
        super().__init__(f"{service} cannot load the model {model!r}: {reason}")


class StackNotReady(StackError):
    def __init__(self, service: str, seconds: float, reason: str, last_lines: str = "") -> None:
        log = f"; its last log lines:\n{last_lines}" if last_lines else ""
        super().__init__(f"{service} was not ready after {seconds:.0f} s: {reason}{log}")


class StackNotRunning(StackError):
    def __init__(self, name: str, pattern: str) -> None:
        super().__init__(f"{name} is not running; start it with: make up {variables_of(pattern, name)}")


class ClusterUnavailable(EngineUnavailable):
    def __init__(self, output: str) -> None:
        super().__init__(f"no cluster is reachable; set KUBECONFIG, or select a context of kubectl. {output}")


class ImageNotFound(StackError):
    def __init__(self, service: str, image: str, reason: str) -> None:
        super().__init__(
            f"{service}: the cluster cannot pull the image {image} ({reason}); set IMAGE_LOAD_COMMAND, for example to "
            "'kind load docker-image', or to 'docker push' together with IMAGE_PREFIX"
        )


class NodePortUnreachable(StackError):
    def __init__(self, tried: list[str], port: int, namespace: str, http_port: int) -> None:
        super().__init__(
            f"the pods are ready, but node port {port} is not reachable from this host (tried {', '.join(tried)}); "
            f"set NODE_ADDRESS, or run: kubectl -n {namespace} port-forward service/entry {http_port}:8000"
        )
