"""What can go wrong with a stack, one class a cause, each message saying what to do next.

StackError
├── UnknownName        a pattern, variant, service, runtime or setting that is not there
├── EngineMissing      the runtime's engine does not answer
│   └── ClusterMissing no Kubernetes cluster answers
├── ImageMissing       a cluster cannot get an image
├── Unreachable        a cluster's nodes do not answer here
├── NoStandIn          the local runtime cannot stand in for an image
├── CommandFailed      an engine's or a build's command ended with an error
├── PortTaken          somebody else listens on the entry's port
├── ServiceExited      a service ended while it was expected to run
├── NotReady           a service did not become ready in time
└── NotUp              the stack is not up
"""


class StackError(Exception):
    """Anything a person at a terminal should read as one message, without a traceback."""


class UnknownName(StackError):
    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}; known: {', '.join(sorted(known)) or 'none'}")


class EngineMissing(StackError):
    pass


class NoStandIn(StackError):
    def __init__(self, service: str, image: str, hint: str = "") -> None:
        reason = hint or f"nothing stands in for the image {image} in the local runtime"
        super().__init__(f"{service}: {reason}; run with RUNTIME=compose")


class CommandFailed(StackError):
    def __init__(self, command: list[str], code: int, output: str) -> None:
        super().__init__(f"`{' '.join(command)}` ended with {code}:\n{output.strip()}")


class PortTaken(StackError):
    def __init__(self, port: int, owner: str, pattern: str, other: int) -> None:
        super().__init__(f"port {port} is in use by {owner}; choose another: make up PATTERN={pattern} PORT={other}")


class ServiceExited(StackError):
    def __init__(self, service: str, how: str, last_lines: str) -> None:
        super().__init__(f"{service} {how}; its last lines:\n{last_lines or '(none)'}")


class NotReady(StackError):
    def __init__(self, service: str, seconds: float, answer: str, last_lines: str = "") -> None:
        told = f"; its last lines:\n{last_lines}" if last_lines else ""
        super().__init__(f"{service} was not ready after {seconds:.0f} s: {answer}{told}")


class NotUp(StackError):
    def __init__(self, name: str, pattern: str) -> None:
        super().__init__(f"{name} is not up; start it: make up PATTERN={pattern}")


class ClusterMissing(EngineMissing):
    def __init__(self, answer: str) -> None:
        super().__init__(f"no cluster answers; name one by KUBECONFIG or kubectl's current context. {answer}")


class ImageMissing(StackError):
    def __init__(self, service: str, image: str, reason: str) -> None:
        super().__init__(
            f"{service}: the cluster has no image {image} ({reason}); say how to bring it in, for example "
            "IMAGE_LOAD_COMMAND='kind load docker-image', or IMAGE_LOAD_COMMAND='docker push' with IMAGE_PREFIX"
        )


class Unreachable(StackError):
    def __init__(self, tried: list[str], port: int, namespace: str, http_port: int) -> None:
        super().__init__(
            f"the stack is ready, but port {port} of its nodes does not answer here (tried {', '.join(tried)}); "
            f"set NODE_ADDRESS, or: kubectl -n {namespace} port-forward service/entry {http_port}:8000"
        )
