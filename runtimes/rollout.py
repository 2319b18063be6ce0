"""Whether pods that are not ready yet can still become ready by themselves."""

from __future__ import annotations

from runtimes.cluster import Namespace, Pod
from runtimes.errors import ImageNotFound, ServiceExited
from runtimes.load_failures import LoadWatch


def require_progress(namespace: Namespace, waiting: list[Pod], watch: LoadWatch) -> None:
    """Raise StackError for a pod that cannot: ImageNotFound, ServiceExited, ModelNotLoaded."""
    for pod in waiting:
        if pod.image_missing:
            raise ImageNotFound(pod.name, pod.image, pod.message or pod.waiting)
        if pod.crashed and not pod.terminating:
            how = f"exited with code {pod.exit_code}" if pod.exit_code is not None else pod.waiting
            raise ServiceExited(pod.name, how, namespace.last_lines(pod))
        if pod.running and not pod.terminating:
            watch.check(pod.name, namespace.unready_answer(pod))
