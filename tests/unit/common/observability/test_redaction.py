"""No text that leaves the process has the credentials of a URL, or a secret of this process by its value."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from common.client import ModelMetadata
from common.composition.predictor_health import HealthMonitor
from common.errors import InvalidInput, NotReady
from common.inference.manifest import one_line
from common.observability.redaction import redacted, redacted_start, remember_secrets
from common.request.deadline import Deadline
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import until

TOKEN = "tHe4Xq9ZrPw2LmK7vB1nCs5D"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nothing to hide: 1 + 1 = 2?", "nothing to hide: 1 + 1 = 2?"),
        ("https://ada:pa55word@store/m/1: refused", "https://***@store/m/1: refused"),
        ("redis://:pa55word@redis:6379/0", "redis://***@redis:6379/0"),
        ("https://store/m?sig=abc&se=2026: refused", "https://store/m?***: refused"),
        ("'s3://bucket/m@2/1' failed", "'s3://bucket/m@2/1' failed"),
        ("a=http://u:one@a:1,b=grpc://u:two@b:2#m", "a=http://***@a:1,b=grpc://***@b:2#m"),
        ("see http://localhost:8000/docs#x.", "see http://localhost:8000/docs#x."),
        ("http://store/m/1;sig=abc: refused", "http://store/m/1;***: refused"),
        ("http://store/m;v/1#sig=abc: refused", "http://store/m;v/1#***: refused"),
        ("http://store/m/1; a=b", "http://store/m/1; a=b"),
    ],
)
def test_urls_are_told_without_their_credentials(text: str, told: str) -> None:
    assert redacted(text) == told


@pytest.mark.parametrize(
    ("name", "value", "said", "told"),
    [
        ("REDIS_URL", "redis://:p%40ss-one@redis:6379", "wrong p@ss-one or p%40ss-one", "wrong *** or ***"),
        ("PREDICTORS", "a=http://u:half/of-it@a:1,b=http://b:2", "cannot find half/of-it@a", "cannot find ***@a"),
        ("MODEL_URI", "https://store/m?sig=s1gn%2Fature&v=1", "GET m?s1gn/ature, s1gn%2Fature", "GET m?***, ***"),
        ("MODEL_URI", "https://t0ken-alone@store/m?who=a@b", "with t0ken-alone", "with ***"),
        ("MODEL_URI", "http://u:sp4ce and-more@store/m", "no sp4ce and-more, sp4ce%20and-more", "no ***, ***"),
        ("MODEL_URI", "http//u:n0-scheme@store/m", "cannot open u:n0-scheme@store", "cannot open u:***@store"),
        ("MODEL_URI", "http://store/m;sig=p4rameter#key=fr4gment", "for p4rameter, fr4gment", "for ***, ***"),
        ("MODEL_URI", f"http://store/{TOKEN}/iris-model/1", f"{TOKEN}/iris-model", "***/iris-model"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x=h3ader,y=Bearer%20b3arer", "sent h3ader, b3arer", "sent ***, ***"),
        ("REDIS_PASSWORD", 'quo"ted\\part', r"""{"a": "quo\"ted\\part"} quo"ted\part""", '{"a": "***"} ***'),
        ("AWS_SECRET_ACCESS_KEY", "aws-s3cret", "signed with aws-s3cret", "signed with ***"),
    ],
)
def test_a_secret_is_hidden_wherever_it_is_repeated(name: str, value: str, said: str, told: str) -> None:
    remember_secrets({name: value})
    assert redacted(said) == told


LONG = "".join(f"s3cret-{index}-" for index in range(200))
CUT: dict[str, Callable[[str], str]] = {
    "the middle of an error": lambda text: one_line(ValueError(text), 300),
    "the end of a reason": lambda text: InvalidInput.at("x", text).detail,
    "a predictor's words": lambda text: redacted_start(text, 1000),
}


@pytest.mark.parametrize("place", CUT)
@pytest.mark.parametrize("start", [0, 100, 280, 950])
def test_a_secret_is_hidden_before_a_text_is_cut(place: str, start: int) -> None:
    remember_secrets({"MODEL_URI": f"http://user:{LONG}@store/m", "TOKEN": f"{LONG[:500]} and\n{LONG[:500]}"})
    for secret in (f"http://other:{LONG}unknown@store/m", LONG, f"{LONG[:500]} and\n{LONG[:500]}"):
        assert "s3cret" not in CUT[place](f"{'a ' * (start // 2)}{secret}{' z' * 200}")


def test_what_is_no_secret_is_told() -> None:
    remember_secrets({"MODEL_URI": "file:///models/iris-model/1", "KEYS_FILE": "/etc/keys/all", "SHORT_KEY": "iris"})
    remember_secrets({"PREDICTORS": "a=grpc://one-host:1#model-a,b=grpc://two-host:2#model-b"})
    remember_secrets({"MODEL_URI": "s3://bucket/year=2026/0123456789abcdef0123456789abcdef/iris"})
    for text in ("models/iris-model in /etc/keys/all", "grpc://two-host:2#model-b", "year=2026/0123456789abcdef"):
        assert redacted(text) == text


async def test_errors_logs_and_health_pass_through_it() -> None:
    logged = CapturedLog()
    service = logged.service()
    url = "http://ada:pl4inted@store/m?sig=pl4inted2"
    assert NotReady(f"{url} failed").detail == "http://***@store/m?*** failed"
    logged.logs.log.error("failed", reason=url, at=[url])
    try:
        raise RuntimeError(url)
    except RuntimeError:
        logged.logs.log.exception("broken")
    service.health.add_readiness_check(lambda: url)
    service.health.add_liveness_check(lambda: url)
    monitor = HealthMonitor({"one": _Broken(url)})
    async with monitor.running():
        await until(lambda: "cannot be used" in str(monitor.unready()), "the failure")
        told = [monitor.unready(), service.health.not_ready_reasons(), service.health.not_live_reasons()]
    assert "pl4inted" not in str([logged.lines(), told])
    assert str(told).count("***@store") == 3


class _Broken:
    def __init__(self, url: str) -> None:
        self._url = url

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata:
        raise RuntimeError(self._url)


def test_a_url_in_quotes_within_json_leaves_the_json_valid() -> None:
    text = json.dumps({"told": 'see "http://user:secret@host/x?y=1" there'})
    assert json.loads(redacted(text)) == {"told": 'see "http://***@host/x?***" there'}


def test_a_secret_that_contains_a_url_is_hidden() -> None:
    key = '{"private_key": "abcdefgh", "token_uri": "https://oauth2.example.org/token"}'
    remember_secrets({"GOOGLE_SERVICE_ACCOUNT_KEY": key, "DB_PASS": "hunter2hunter2"})
    assert "abcdefgh" not in redacted(f"failed with {key}")
    assert "hunter2" not in redacted("password hunter2hunter2 was refused")
