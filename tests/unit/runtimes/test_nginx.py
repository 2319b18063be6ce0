"""The configuration of an nginx container is adapted to the ports of this machine."""

from pathlib import Path

from runtimes.nginx import localise

TEXT = """pid /tmp/nginx.pid;
http {
    resolver 127.0.0.11;
    server {
        listen 8000;
        set $replicas http://api:8000;
    }
    server {
        listen 8001 http2;
        set $replicas grpc://api:8001;
    }
}
"""


def test_replicas_become_an_upstream_group() -> None:
    replicas = [{8000: 5001, 8001: 5002}, {8000: 6001, 8001: 6002}]
    text = localise(TEXT, Path("/state"), {8000: 7001, 8001: 7002}, {"api": replicas})
    assert "upstream api_8000 { server 127.0.0.1:5001; server 127.0.0.1:6001; }" in text
    assert "upstream api_8001 { server 127.0.0.1:5002; server 127.0.0.1:6002; }" in text
    assert "set $replicas http://api_8000;" in text
    assert "set $replicas grpc://api_8001;" in text
    assert "listen 127.0.0.1:7001;" in text
    assert "listen 127.0.0.1:7002 http2;" in text
    assert "pid /state/nginx.pid;" in text
