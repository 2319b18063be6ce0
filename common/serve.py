"""Entry point of every image: `python -m common.serve ROLE`, where ROLE is a module such as `patterns.serial.proxy`.

A role module has `Settings`, read from the environment, and `create_process(settings, logs)`. Servers, workers, jobs
that run once and agents are all started here, and end in the same order on SIGTERM: unready, wait until balancers
have noticed, stop accepting, finish what is in flight, close, flush the logs.
"""

from __future__ import annotations

import gc
import importlib
import ipaddress
import os
import sys
import traceback
from types import ModuleType, TracebackType

from pydantic import ValidationError

from common.http.limits import raise_descriptor_limit
from common.observability.log import Logs
from common.observability.redaction import redacted, remember_secrets
from common.roles.process import run
from common.settings import ServiceSettings


def load_role(name: str) -> ModuleType:
    """The role's module. Raises SystemExit when there is no such module or it is not a role."""
    try:
        role = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"cannot import the role {name!r}: {error}; expected a module such as common.roles.predictor"
        ) from None
    missing = [one for one in ("Settings", "create_process") if not hasattr(role, one)]
    if missing:
        raise SystemExit(f"{name!r} is not a role: the module has no {' and no '.join(missing)}")
    return role


def read_settings(role: ModuleType) -> ServiceSettings:
    """The role's settings from the environment. Raises SystemExit naming each wrong variable."""
    try:
        settings: ServiceSettings = role.Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{str(next(iter(one['loc']), 'settings')).upper()}: {one['msg']}" for one in error.errors())
        raise SystemExit(redacted(f"wrong environment variables: {wrong}")) from None
    return settings


def warn_if_open(settings: ServiceSettings, logs: Logs) -> None:
    """Logs a warning when callers from other machines need no API key."""
    if not (settings.api_keys or settings.api_keys_file or _is_loopback(settings.host)):
        advice = "set API_KEYS_FILE or API_KEYS, or let only a proxy that authenticates callers reach this service"
        logs.log.warning("callers need no API key", host=settings.host, advice=advice)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name
        return False


def main() -> None:
    """Reads the role's settings, builds its process and runs it to its end."""
    raise_descriptor_limit()
    gc.disable()  # until it serves: loading modules leaves nothing to collect
    if len(sys.argv) != 2:
        raise SystemExit(
            "usage: python -m common.serve ROLE, such as patterns.web_single.api or common.roles.predictor"
        )
    remember_secrets(os.environ)
    sys.excepthook = _print_redacted
    role = load_role(sys.argv[1])
    settings = read_settings(role)
    logs = Logs(settings.pattern, settings.service, settings.log_level)
    logs.take_over_stdlib()
    warn_if_open(settings, logs)
    raise SystemExit(run(role.create_process(settings, logs)))


def _print_redacted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints the traceback of an exception that ends the process, without any secret."""
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


if __name__ == "__main__":
    main()
