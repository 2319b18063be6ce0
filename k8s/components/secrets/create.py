"""Creates a Secret with a random password, unless there is one of that name; runs in a pod, on the standard library."""

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
    """Raises URLError when the API server is not reached or refuses; the Job starts this again."""
    name = os.environ["SECRET"]
    namespace, token = (ACCOUNT / "namespace").read_text(), (ACCOUNT / "token").read_text()
    request = Request(
        f"https://kubernetes.default.svc/api/v1/namespaces/{namespace}/secrets",
        json.dumps(_secret(name)).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        urlopen(request, timeout=10, context=_trust()).close()
    except HTTPError as error:
        if error.code != CONFLICT:
            raise
        print(f"{name} is there already")
    else:
        print(f"{name} created")


def _trust() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    # chain and name are verified; this asks beyond that for extensions which many a cluster's authority lacks
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _secret(name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "serving-patterns"}},
        # hexadecimal: it goes into URLs and command lines as it is
        "stringData": {"password": secrets.token_hex(24)},
    }


if __name__ == "__main__":
    main()
