"""Settings come from the environment, each checked and each documented."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Literal, get_args, get_origin

import pytest
from pydantic import ValidationError

from common.observability.log import Logs
from common.request.api_keys import unreadable
from common.roles.predictor import Settings
from common.settings import ServiceSettings
from patterns.parallel import settings as parallel
from patterns.prep_pred import entry as prep_pred
from patterns.serial import api as serial_api
from patterns.serial import proxy as serial
from patterns.synchronous import settings as synchronous
from patterns.web_single.settings import Settings as WebSingle


def read() -> Settings:
    """All of it out of the environment."""
    made: Callable[..., Settings] = Settings
    return made()


@pytest.mark.parametrize("settings", [ServiceSettings, Settings, WebSingle])
def test_every_setting_says_what_it_is(settings: type[ServiceSettings]) -> None:
    for name, field in settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        if field.annotation is float and not name.endswith(("_share", "_per_second")):
            assert name.endswith("_seconds"), name


def test_they_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HTTP_PORT": "9", "FAULTS": "true", "MODEL": " a, b ,", "BATCH_DELAY_SECONDS": "0.5"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("API_KEYS_FILE", "")  # as a compose file or a manifest turns it off
    settings = read()
    assert (settings.http_port, settings.faults, settings.batch_delay_seconds) == (9, True, 0.5)
    assert settings.api_keys_file is None
    assert settings.models == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http_port", "65536"), ("http_port", "-1"), ("http_port", "tcp://10.0.0.1:8000"), ("log_level", "loud"),
        ("max_body_bytes", "0"), ("max_body_bytes", "64MB"), ("request_timeout_seconds", "0"),
        ("request_timeout_seconds", "nan"), ("request_timeout_seconds", "inf"), ("drain_delay_seconds", "-1"),
        ("drain_timeout_seconds", "inf"), ("batch_max_rows", "0"), ("queue_limit", "0"), ("batch_delay_seconds", "11"),
        ("prediction_log_share", "1.1"), ("faults", "perhaps"), ("model_versions_kept", "0"), ("intra_op_threads", "0"),
    ],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name.upper(), value)
    with pytest.raises(ValidationError) as caught:
        read()
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


def test_a_file_of_keys_that_cannot_be_read_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS_FILE", "no/such/file")
    with pytest.raises(ValidationError, match=r"No such file or directory; expected a file with a line name:sha256"):
        read()
    advice = "cannot be read: Permission denied; make the file and its folder readable for every user"
    assert advice in unreadable(PermissionError(13, "Permission denied"))


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
@pytest.mark.parametrize("spelling", [str.lower, str.upper, str.capitalize], ids=["lower", "upper", "capitalised"])
def test_a_log_level_may_have_any_case(
    level: str, spelling: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_LEVEL", spelling(level))
    settings = read()
    assert settings.log_level == level
    Logs(settings.pattern, settings.service, settings.log_level, BytesIO())


ROLES: list[type[ServiceSettings]] = [
    parallel.Settings, serial.Settings, serial_api.Settings, prep_pred.Settings, synchronous.Settings, WebSingle
]  # fmt: skip
ENUMERATED = [
    pytest.param(role, name, get_args(field.annotation), id=f"{role.__module__}.{name}")
    for role in ROLES
    for name, field in role.model_fields.items()
    if get_origin(field.annotation) is Literal
]


@pytest.mark.parametrize(("role", "name", "accepted"), ENUMERATED)
def test_an_unknown_value_is_refused_with_the_accepted_ones(
    role: type[ServiceSettings], name: str, accepted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name.upper(), "loud")
    with pytest.raises(ValidationError) as caught:
        role.model_validate({} if "predictors" not in role.model_fields else {"predictors": "one=http://x"})
    (told,) = [error for error in caught.value.errors() if error["loc"] == (name,)]
    assert all(repr(value) in told["msg"] for value in accepted)
    assert told["input"] == "loud"


def test_they_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        read().http_port = 1
