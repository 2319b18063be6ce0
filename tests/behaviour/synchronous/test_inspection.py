"""The inspection line goes by the answers: it passes, rejects, or stops for a person, and passes nothing unseen."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from patterns.synchronous.inspection import ClassifyClient, InspectionLine, NoPrediction, Verdict
from runtimes.base import Stack
from tests.asking.synchronous import CAT, PHOTOS, SAMPLES
from tests.conftest import Start

CATS = frozenset({"tabby", "tiger cat"})


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("synchronous")


@dataclass
class Told:
    """An eye that sees what it is told, and remembers what it was shown."""

    answers: list[tuple[str, float] | None]
    shown: list[bytes] = field(default_factory=list)

    def classify(self, photo: bytes, seconds: float) -> tuple[str, float]:
        self.shown.append(photo)
        answer = self.answers[len(self.shown) - 1]
        if answer is None:
            raise NoPrediction("503 Service Unavailable")
        return answer


def actions(line: InspectionLine, *photos: bytes) -> list[str]:
    return [verdict.action for verdict in line.run((str(number), photo) for number, photo in enumerate(photos))]


@pytest.mark.parametrize(
    ("answer", "action"),
    [
        (("tabby", 0.9), "pass"),
        (("espresso", 0.9), "reject"),
        (("tabby", 0.49), "stop"),
        (("espresso", 0.49), "stop"),
        (None, "stop"),
    ],
    ids=["as expected", "something else", "unsure of the right one", "unsure of a wrong one", "not seen"],
)
def test_what_becomes_of_a_part_depends_on_its_answer(answer: tuple[str, float] | None, action: str) -> None:
    assert InspectionLine(Told([answer]), CATS, min_probability=0.5).inspect("part", b"").action == action


def test_nothing_behind_a_stop_is_looked_at() -> None:
    eye = Told([("tabby", 0.9), None, ("tabby", 0.9)])
    assert actions(InspectionLine(eye, CATS), b"1", b"2", b"3") == ["pass", "stop"]
    assert eye.shown == [b"1", b"2"]


def test_it_inspects_real_photos(stack: Stack) -> None:
    line = InspectionLine(ClassifyClient(stack.url()), CATS, min_probability=0.3, seconds=5)
    assert actions(line, CAT, PHOTOS["coffee.jpg"], CAT) == ["pass", "reject", "pass"]


@pytest.mark.parametrize("photo", [b"", CAT[:4000], b"no photo"])
def test_a_part_whose_photo_is_broken_is_not_passed(stack: Stack, photo: bytes) -> None:
    assert actions(InspectionLine(ClassifyClient(stack.url()), CATS, seconds=5), photo, CAT) == ["stop"]


def test_a_service_that_is_not_there_stops_the_line() -> None:
    verdict = InspectionLine(ClassifyClient("http://127.0.0.1:9"), CATS).inspect("part", CAT)
    assert (verdict.action, verdict.part) == ("stop", "part")
    assert verdict.reason.startswith("no prediction: ")


def test_a_part_has_its_time_and_no_more(stack: Stack) -> None:
    verdict = InspectionLine(ClassifyClient(stack.url()), CATS, seconds=0.001).inspect("part", CAT)
    assert verdict == Verdict("part", "stop", verdict.reason)
    assert "no prediction" in verdict.reason


def test_it_runs_from_a_shell(stack: Stack) -> None:
    def run(*photos: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "patterns.synchronous.inspection", stack.url(), "--expect", "espresso"]
        paths = [str(SAMPLES / photo) for photo in photos]
        return subprocess.run([*command, "--seconds", "5", *paths], capture_output=True, text=True, check=False)

    went = run("coffee.jpg", "camera.jpg")
    assert went.returncode == 0, went.stderr
    assert [line.split()[:2] for line in went.stdout.splitlines()] == [
        ["pass", "coffee.jpg:"],
        ["reject", "camera.jpg:"],
    ]
    stands = run("coffee.jpg", "rocket.jpg", "camera.jpg")
    assert stands.returncode == 1
    assert [line.split()[0] for line in stands.stdout.splitlines()] == ["pass", "stop"]
