"""Creates a Secret with a random password, unless it exists. Runs in a pod and uses only the standard library."""

from __future__ import annotations

import json
import os
import secrets
import ssl
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ACCOUNT = Path("/account")
CONFLICT = 409


def main() -> None:
    """Create the Secret. Raises URLError if the API server is not reachable or refuses; the Job then retries."""
    name = os.environ["SECRET"]
    namespace, token = (ACCOUNT / "namespace").read_text(), (ACCOUNT / "token").read_text()
    request = Request(
        f"https://kubernetes.default.svc/api/v1/namespaces/{namespace}/secrets",
        json.dumps(_secret(name)).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        urlopen(request, timeout=10, context=_tls_context()).close()
    except HTTPError as error:
        if error.code != CONFLICT:
            raise
        print(f"Secret {name} exists; it is not changed")
    else:
        print(f"Secret {name} created")


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    # Chain and host name are verified. Strict mode also requires extensions that the CA of many clusters does not have.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _secret(name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "serving-patterns"}},
        # hexadecimal, so that URLs and command lines need no escaping
        "stringData": {"password": secrets.token_hex(24)},
    }


if __name__ == "__main__":
    main()
