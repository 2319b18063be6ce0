"""Every half speaks the Open Inference Protocol, over REST and gRPC: to our own client, and to NVIDIA's unchanged."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from common.client import ModelMetadata, PredictorClient, PredictorResponse
from common.errors import InvalidInput, PreprocessingMismatch
from common.preprocessing.steps import preparer
from common.request.deadline import Deadline
from runtimes.base import Stack
from tests.asking.prep_pred import (
    FINGERPRINT,
    MODELS,
    element,
    items,
    manifest,
    start_layout,
)  # fmt: skip
from tests.conftest import Start

LAYOUTS = (None, "proxy")


@pytest.fixture(scope="module", params=LAYOUTS, ids=lambda layout: layout or "default")
def stack(request: pytest.FixtureRequest, start_shared: Start) -> Stack:
    return start_layout(start_shared, request.param)


@pytest.fixture(scope="module")
def proxied(start_shared: Start) -> Stack:
    return start_layout(start_shared, "proxy")


def urls(stack: Stack, service: str) -> tuple[str, str]:
    return stack.url(service), f"grpc://{stack.grpc(service)}"


def instances(*given: Any) -> dict[str, Any]:
    array = np.empty(len(given), object)
    array[:] = [element(one) for one in given]
    return {"instances": array}


async def infer(url: str, model: str, inputs: dict[str, Any], **parameters: str) -> PredictorResponse:
    async with PredictorClient(url, model=model) as client:
        return await client.infer(inputs, deadline=Deadline.after(20), parameters=parameters)


async def metadata(url: str, model: str) -> ModelMetadata:
    async with PredictorClient(url, model=model) as client:
        return await client.metadata(deadline=Deadline.after(10))


@pytest.mark.parametrize("model", MODELS)
async def test_the_entry_answers_raw_instances_alike_over_both_protocols(stack: Stack, model: str) -> None:
    given, truth = zip(*items(model), strict=True)
    entry = stack.options.compose_file().entry.name
    rest, grpc = [await infer(url, model, instances(*given)) for url in urls(stack, entry)]
    main = manifest(model).outputs[0].name
    assert rest.outputs[main].tolist() == grpc.outputs[main].tolist()
    found = [manifest(model).labels[int(best)] for best in rest.outputs[main].argmax(axis=1)]
    assert sum(one == true for one, true in zip(found, truth, strict=True)) >= len(truth) - (model == "imagenet_lite0")
    for answer in (rest, grpc):
        assert (answer.model_name, answer.model_version) == (model, "1")
        assert answer.parameters == {FINGERPRINT: manifest(model).preprocessing.fingerprint}


@pytest.mark.parametrize("model", MODELS)
async def test_prep_alone_answers_the_tensor_and_how_it_was_made(proxied: Stack, model: str) -> None:
    given = [instance for instance, _ in items(model)]
    told = manifest(model)
    expected = preparer(told).prepare_many(given)
    for url in urls(proxied, "prep"):
        answer = await infer(url, model, instances(*given))
        assert answer.outputs.keys() == expected.keys()
        assert np.array_equal(answer.outputs[told.inputs[0].name], expected[told.inputs[0].name])
        assert answer.parameters == {FINGERPRINT: told.preprocessing.fingerprint}


@pytest.mark.parametrize("model", MODELS)
async def test_both_halves_state_the_fingerprint_of_the_preprocessing(proxied: Stack, model: str) -> None:
    stated = manifest(model).preprocessing.fingerprint
    for service in ("prep", "predictor", "proxy"):
        for url in urls(proxied, service):
            assert (await metadata(url, model)).properties[FINGERPRINT] == stated


async def test_the_predictor_refuses_what_was_prepared_otherwise(stack: Stack) -> None:
    instance, _ = items("penguins")[0]
    tensors = preparer(manifest("penguins")).prepare(instance)
    for url in urls(stack, "predictor"):
        with pytest.raises(PreprocessingMismatch) as caught:
            await infer(url, "penguins", tensors, **{FINGERPRINT: "sha256:0123"})
        assert "sha256:0123" in caught.value.detail
        assert manifest("penguins").preprocessing.fingerprint in caught.value.detail


async def test_the_predictor_refuses_tensors_that_do_not_say_how_they_were_prepared(stack: Stack) -> None:
    instance, _ = items("penguins")[0]
    tensors = preparer(manifest("penguins")).prepare(instance)
    for url in urls(stack, "predictor"):
        with pytest.raises(InvalidInput, match=r"parameters.preprocessing_fingerprint: is missing; expected 'sha256:"):
            await infer(url, "penguins", tensors)


async def test_a_wrong_instance_is_refused_in_the_words_of_prep(stack: Stack) -> None:
    entry = stack.options.compose_file().entry.name
    for url in urls(stack, entry):
        with pytest.raises(InvalidInput, match=r"instances\[1\].island: expected a string, got '7'"):
            await infer(url, "penguins", instances({"island": "Biscoe"}, {"island": 7}))
        with pytest.raises(InvalidInput, match=r"instances\[0\]: is not valid JSON"):
            await infer(url, "penguins", instances("a penguin"))
        with pytest.raises(InvalidInput, match="picture: is a GIF"):
            await infer(url, "imagenet_lite0", instances(b"GIF89a"))


def test_an_output_or_version_that_is_not_there_is_refused(stack: Stack) -> None:
    url = f"{stack.url()}/v2/models/penguins"
    body = {"inputs": [{"name": "instances", "shape": [1], "datatype": "BYTES", "data": ["{}"]}]}
    wrong = httpx.post(f"{url}/infer", json=body | {"outputs": [{"name": "colour"}]}, timeout=10)
    assert (wrong.status_code, "colour" in wrong.json()["error"]) == (400, True)
    assert httpx.post(f"{url}/versions/7/infer", json=body, timeout=10).status_code == 404
    assert httpx.post(f"{url}/versions/1/infer", json=body, timeout=10).status_code == 200
