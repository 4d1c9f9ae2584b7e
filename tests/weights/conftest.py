"""Fixtures of the weight tests."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from routes import SHA256

from restore_cli.weights.fetch import Fetcher

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def data() -> Path:
    """Small checkpoints saved by Jittor 1.3.11."""
    return DATA / "weights"


@pytest.fixture
def golden_file():
    """Path of a reference checkpoint by name."""
    return lambda name: DATA / "liif" / name


class Loopback(ThreadingHTTPServer):
    """A local server whose paths behave as a test says: `routes[path](handler)`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.routes = {}
        self.requests = []  # (path, headers)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, request, client_address):
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, dict(self.headers)))
        self.server.routes[self.path](self)

    def log_message(self, *unused):
        """Keeps the test's output clean."""


@pytest.fixture
def server(monkeypatch):
    """A running `Loopback`, reached without any proxy."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")
    made = Loopback()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def get(server, tmp_path):
    """Fetches ``/x`` (or other URLs) into tmp_path/file and returns (Fetched, its waits)."""

    def run(*urls, check=None, limit=1 << 20, size=None, environ=None, **settings):
        waits = []
        fetcher = Fetcher(environ=environ or {}, wait=waits.append,
                          **{"timeout": 5.0, **settings})
        check = check or (lambda sha: None if sha == SHA256 else f"is {sha[:8]}")
        run.waits = waits
        return fetcher.fetch(urls or (server.url("/x"),), tmp_path / "cache" / "file",
                             limit=limit, size=size, check=check, name="thing")

    run.target = tmp_path / "cache" / "file"
    run.left_over = lambda: sorted(path.name for path in run.target.parent.glob("*"))
    return run


@pytest.fixture
def saved(tmp_path):
    """Writes bytes to a file and returns its path."""

    def save(data: bytes, name: str = "x.pth"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return save
