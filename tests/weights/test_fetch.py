"""Fetching: whole files, continued ones, files of this machine, full disks."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections import namedtuple

import pytest
from routes import CONTENT, SHA256, in_turn, serve

from restore_cli.console import Console
from restore_cli.errors import WeightsError
from restore_cli.weights import fetch as module


def test_plain_download(server, get):
    server.routes["/x"] = serve()
    fetched = get(size=len(CONTENT))
    assert (fetched.url, fetched.size, fetched.sha256) == (server.url("/x"), len(CONTENT), SHA256)
    assert get.target.read_bytes() == CONTENT and get.left_over() == ["file"] and not get.waits


def test_without_announced_length(server, get):
    server.routes["/x"] = serve(length=False)
    assert get().sha256 == SHA256


def test_slow_server(server, get):
    server.routes["/x"] = serve(pause=0.05)
    assert get(timeout=0.5).sha256 == SHA256


def test_silent_server_is_given_up_and_continued(server, get):
    def hanging(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.send_header("ETag", '"v1"')
        handler.end_headers()
        handler.wfile.write(CONTENT[:100_000])
        handler.wfile.flush()
        time.sleep(1.0)

    server.routes["/x"] = in_turn(hanging, serve())
    assert get(timeout=0.3).sha256 == SHA256
    assert server.requests[1][1]["Range"] == "bytes=100000-"


def test_trickling_server_is_given_up(server, get):
    server.routes["/x"] = serve(step=10, pause=0.05)
    with pytest.raises(WeightsError, match="hardly sends anything"):
        get(timeout=0.3, attempts=1)


def test_cut_connections_are_continued(server, get):
    server.routes["/x"] = serve(cut=70_000)
    assert get().sha256 == SHA256
    starts = [headers.get("Range") for _, headers in server.requests]
    assert starts == [None, "bytes=70000-", "bytes=140000-", "bytes=210000-", "bytes=280000-"]
    assert all(headers["If-Range"] == '"v1"' for _, headers in server.requests[1:])


def test_next_call_continues_an_interrupted_one(server, get, monkeypatch):
    server.routes["/x"] = serve()
    original = module._Download._bar

    class Interrupting:
        def __init__(self, bar):
            self.bar, self.seen = bar, 0

        def __enter__(self):
            return self

        def __exit__(self, *unused):
            self.bar.close()

        def update(self, count):
            self.seen += count
            if self.seen > 100_000:
                raise KeyboardInterrupt

    monkeypatch.setattr(module._Download, "_bar",
                        lambda *arguments: Interrupting(original(*arguments)))
    with pytest.raises(KeyboardInterrupt):
        get()
    assert get.left_over() == ["file.part", "file.part.json"]
    monkeypatch.setattr(module._Download, "_bar", original)
    assert get().sha256 == SHA256 and "Range" in server.requests[-1][1]
    assert get.left_over() == ["file"]


def test_server_that_ignores_ranges(server, get):
    server.routes["/x"] = in_turn(serve(cut=100_000), serve(ranges=False))
    assert get().sha256 == SHA256 and "Range" in server.requests[1][1]


def test_file_that_changes_between_the_halves(server, get):
    other = CONTENT[::-1]
    server.routes["/x"] = in_turn(serve(other, tag='"v0"', cut=100_000), serve())
    assert get().sha256 == SHA256  # If-Range makes the server start over


def test_server_that_joins_halves_of_different_files(server, get):
    other = b"PK" + CONTENT[:1:-1]

    def lying(handler):
        del handler.headers["If-Range"]
        serve(tag="")(handler)

    server.routes["/x"] = in_turn(serve(other, cut=100_000), lying, serve())
    assert get().sha256 == SHA256
    assert "Range" not in server.requests[2][1]  # hash did not fit: from the beginning


@pytest.mark.parametrize("answer", ["bytes 5-9/10", "bytes x", "", "lines 1-2/3"])
def test_wrong_range_in_the_answer(server, get, answer):
    def wrong(handler):
        handler.send_response(206)
        handler.send_header("Content-Range", answer)
        handler.send_header("Content-Length", "5")
        handler.end_headers()
        handler.wfile.write(b"12345")

    server.routes["/x"] = in_turn(serve(cut=100_000), wrong, serve())
    assert get().sha256 == SHA256


def test_without_validator_nothing_is_continued(server, get):
    server.routes["/x"] = in_turn(serve(cut=100_000, tag=""), serve(tag=""))
    assert get().sha256 == SHA256 and "Range" not in server.requests[1][1]


def test_weak_tags_do_not_count_but_dates_do(server, get):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.routes["/x"] = in_turn(serve(cut=100_000, tag='W/"v1"', Last_Modified=date), serve())
    assert get().sha256 == SHA256 and server.requests[1][1]["If-Range"] == date


def test_stale_partial_file(server, get):
    get.target.parent.mkdir()
    part = get.target.with_name("file.part")
    facts = get.target.with_name("file.part.json")
    server.routes["/x"] = serve()
    for content, known in ((CONTENT + b"more", {"url": server.url("/x"), "validator": '"v1"'}),
                           (CONTENT, {"url": server.url("/x"), "validator": '"v1"',
                                      "total": len(CONTENT)}),
                           (b"junk", {"url": "http://elsewhere/", "validator": '"v1"'}),
                           (b"junk", ["?"]), (b"junk", {"url": server.url("/x")})):
        part.write_bytes(content)
        facts.write_text(json.dumps(known))
        assert get().sha256 == SHA256
    facts.write_text("{")
    part.write_bytes(b"junk")
    assert get().sha256 == SHA256


# Files, offline, disk


def test_file_urls(get, tmp_path):
    source = tmp_path / "with space.pth"
    source.write_bytes(CONTENT)
    assert get(source.as_uri()).sha256 == SHA256 and source.exists()
    with pytest.raises(WeightsError, match="No such file"):
        get((tmp_path / "absent").as_uri())
    with pytest.raises(WeightsError, match="only files of this machine"):
        get("file://elsewhere/x")


@pytest.mark.parametrize("value", ["1", "yes", "true"])
def test_offline_never_touches_the_network(server, get, tmp_path, value):
    server.routes["/x"] = serve()
    with pytest.raises(WeightsError, match="RESTORE_OFFLINE forbids"):
        get(environ={"RESTORE_OFFLINE": value})
    source = tmp_path / "x.pth"
    source.write_bytes(CONTENT)
    assert get(server.url("/x"), source.as_uri(),
               environ={"RESTORE_OFFLINE": value}).sha256 == SHA256
    assert server.requests == []


@pytest.mark.parametrize("value", ["", "0", "no", "False"])
def test_not_offline(server, get, value):
    server.routes["/x"] = serve()
    assert get(environ={"RESTORE_OFFLINE": value}).sha256 == SHA256


def test_disk_without_room(server, get, monkeypatch):
    server.routes["/x"] = serve()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 100))
    with pytest.raises(WeightsError, match="needs .* MB, and 100 bytes are free"):
        get()


def test_disk_that_fills_up(server, get, monkeypatch):
    server.routes["/x"] = serve()
    from pathlib import Path

    original = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *unused):
            self.file.close()

        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda path, mode="r", **more: Full(
        original(path, mode, **more)) if mode == "wb" else original(path, mode, **more))
    with pytest.raises(WeightsError, match="No space left"):
        get()
    assert len(server.requests) == 1


@pytest.mark.skipif(os.name == "nt" or getattr(os, "geteuid", lambda: 1)() == 0,
                    reason="permissions bind neither Windows nor root this way")
def test_read_only_cache(server, get, tmp_path):
    (tmp_path / "cache").mkdir(mode=0o500)
    server.routes["/x"] = serve()
    with pytest.raises(WeightsError, match="cannot be written"):
        get()


def test_progress_goes_to_stderr(server, get):
    server.routes["/x"] = serve()
    stderr, stdout = io.StringIO(), io.BytesIO()
    console = Console(stdout=stdout, stderr=stderr)
    console.show_progress = True
    get(console=console)
    assert "thing" in stderr.getvalue() and stdout.getvalue() == b""
