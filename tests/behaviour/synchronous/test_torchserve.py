"""A client of TorchServe asks both models of pictures unchanged, as `curl -T` and as `requests` with a form do."""

from __future__ import annotations

import httpx
import pytest

from runtimes.base import Stack
from tests.asking.synchronous import PHOTOS
from tests.conftest import Start

MODELS = {None: "imagenet_lite0", "end_to_end": "imagenet_lite0_end_to_end"}


@pytest.mark.parametrize("variant", MODELS, ids=["separate", "end_to_end"])
def test_a_photo_gets_its_five_most_probable_labels(
    http: httpx.Client, start_shared: Start, variant: str | None
) -> None:
    stack: Stack = start_shared("synchronous", variant)
    url = f"{stack.url()}/predictions/{MODELS[variant]}"
    as_file = http.put(url, content=PHOTOS["coffee.jpg"])
    as_form = http.post(f"{url}/1.0", files={"data": PHOTOS["coffee.jpg"]})
    assert as_file.json() == as_form.json()
    assert (len(as_file.json()), next(iter(as_file.json()))) == (5, "espresso")
    assert http.get(f"{stack.url()}/ping").json() == {"status": "Healthy"}
    assert MODELS[variant] in [one["modelName"] for one in http.get(f"{stack.url()}/models").json()["models"]]
    missing = http.post(f"{stack.url()}/predictions/tulips", content=b"")
    assert (missing.status_code, missing.json()["type"]) == (404, "ModelNotFoundException")
