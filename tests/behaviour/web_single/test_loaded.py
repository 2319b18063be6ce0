"""The variant `loaded`: the model comes from a store at the start, and is refused when it is not the one meant."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from runtimes.base import Stack
from runtimes.errors import ModelNotLoaded, StackError, StackNotReady
from tests.conftest import Start
from tests.support import INFER, SETOSA, Lines, built, eventually, labels, log_lines, question

PATIENCE = 9.0


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("web_single", "loaded")


def test_the_model_is_fetched_and_answers(http: httpx.Client, stack: Stack) -> None:
    assert labels(http.post(stack.url() + INFER, json=question(SETOSA)).json()) == [0]
    (ready,) = eventually(lambda: log_lines(stack, event="model ready"), 10, "the log says that the model is ready")
    assert ready["sha256"] == http.get(f"{stack.url()}/metadata").json()["model"]["sha256"]


def starting(runtime: str, **settings: str) -> Stack:
    return Stack.create("web_single", runtime, "loaded", port=0, name=f"test-{os.getpid()}-refused", env=settings)


def test_a_model_that_is_not_the_pinned_one_ends_the_start_at_once(runtime: str) -> None:
    began = time.monotonic()
    with pytest.raises(ModelNotLoaded, match="MODEL_MANIFEST_SHA256 is 000000000000"):
        starting(runtime, MODEL_MANIFEST_SHA256="0" * 64).up(120)
    assert time.monotonic() - began < 60  # with the build, and on a cluster the start of the pods


def test_a_model_that_cannot_be_downloaded_is_said_on_one_line_and_keeps_the_service_unready(
    runtime: str, capfd: pytest.CaptureFixture[str]
) -> None:
    says = "iris/9: the download failed"
    stack = starting(runtime, MODEL_URI="http://store:8000/iris/9")
    with ThreadPoolExecutor() as pool:
        future = pool.submit(stack.up, PATIENCE)
        (line,) = eventually(lambda: told(stack, future, says), 300, "the log says why")
        # and not ServiceExited: it neither ends nor is it restarted
        with pytest.raises(StackNotReady, match=r"GET /readyz returned 503 .*iris/9: the download failed"):
            future.result()
    assert line["level"] == "error"
    assert "api waits for the model 'iris'" in capfd.readouterr().err


def told(stack: Stack, future: Future[str], says: str) -> Lines:
    """The lines so far on a model that could not be loaded for this; StackError once the start has failed.

    On a cluster, the service may start before its store and say that first.
    """
    if future.done():
        future.result()
    try:
        return [line for line in log_lines(stack, event="model not loaded") if says in line["reason"]]
    except StackError:  # the service is not there yet
        return []


def test_the_pinned_manifest_is_taken(start_local: Start) -> None:
    """On local processes, whose store serves the very file that is pinned; an image has built its own."""
    pinned = hashlib.sha256((built("iris") / "model.yaml").read_bytes()).hexdigest()
    stack = start_local("web_single", "loaded", MODEL_MANIFEST_SHA256=pinned)
    assert httpx.get(f"{stack.url()}/readyz").status_code == 200


def test_a_file_can_be_where_a_model_comes_from(start_local: Start) -> None:
    stack = start_local("web_single", "loaded", MODEL_URI=f"file://{built('iris')}")
    assert labels(httpx.post(stack.url() + INFER, json=question(SETOSA)).json()) == [0]
