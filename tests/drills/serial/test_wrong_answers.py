"""A predictor that is not the model of its stage: the answer is 502 and names the stage, never a wrong reading."""

from __future__ import annotations

from tests.asking.serial import STAGES, post, sample
from tests.conftest import Start

MODELS = dict(
    zip(STAGES, ("page_orientation", "text_detection", "text_recognition", "text_recognition_heavy"), strict=True)
)


def addresses(**instead: str) -> str:
    """PREDICTORS, where some stages have another stage's predictor."""
    there = {stage: instead.get(stage, stage) for stage in STAGES}
    return ",".join(f"{stage}=http://{other}:8000#{MODELS[other]}" for stage, other in there.items())


def test_a_stage_that_answers_as_another_model_is_named(start_own: Start) -> None:
    stack = start_own("serial", PREDICTORS=addresses(recognition="detection"))  # which takes pictures of any size
    answer = post(stack.url(), sample("page.jpg"))
    assert answer.status_code == 502
    assert "predictor recognition is no model for that, text_detection" in answer.json()["detail"]
