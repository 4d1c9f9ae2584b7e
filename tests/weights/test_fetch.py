"""Fetching from servers that are slow, cut off, lie, or send something else."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import ssl
import subprocess
import time
from collections import namedtuple

import numpy as np
import pytest

from restore_cli.console import Console
from restore_cli.errors import WeightsError
from restore_cli.weights import fetch as module
from restore_cli.weights.fetch import Fetcher

CONTENT = b"PK" + np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def serve(content=CONTENT, *, status=200, length=None, kind="application/octet-stream",
          tag='"v1"', ranges=True, cut=None, pause=0.0, step=1 << 16, **headers):
    """A route: honours ranges unless told otherwise, sends at most `cut` bytes a request."""

    def route(handler):
        start = 0
        wanted = handler.headers.get("Range")
        if wanted and ranges and handler.headers.get("If-Range", tag) == tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                handler.send_error(416)
                return
            handler.send_response(206)
            handler.send_header("Content-Range",
                                f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            handler.send_response(status)
        if length is not False:
            handler.send_header("Content-Length", str(length or len(content) - start))
        handler.send_header("Content-Type", kind)
        if tag:
            handler.send_header("ETag", tag)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        body = content[start:] if cut is None else content[start:start + cut]
        for position in range(0, len(body), step):
            handler.wfile.write(body[position:position + step])
            handler.wfile.flush()
            time.sleep(pause)
        handler.close_connection = True

    return route


def fail(status, **headers):
    """A route that answers with an error."""

    def route(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return route


def in_turn(*routes):
    """A route that behaves differently each time; the last one stays."""
    left = list(routes)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


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
    return run


def left_over(get):
    return sorted(path.name for path in get.target.parent.glob("*"))


def test_plain_download(server, get):
    server.routes["/x"] = serve()
    fetched = get(size=len(CONTENT))
    assert (fetched.url, fetched.size, fetched.sha256) == (server.url("/x"), len(CONTENT), SHA256)
    assert get.target.read_bytes() == CONTENT and left_over(get) == ["file"] and not get.waits


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
    assert left_over(get) == ["file.part", "file.part.json"]
    monkeypatch.setattr(module._Download, "_bar", original)
    assert get().sha256 == SHA256 and "Range" in server.requests[-1][1]
    assert left_over(get) == ["file"]


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


# Lies


def test_announced_length_too_long(server, get):
    server.routes["/x"] = serve(length=len(CONTENT) + 1000, ranges=False)
    with pytest.raises(WeightsError, match=f"broke after {len(CONTENT)} of"):
        get(attempts=2)
    assert not get.target.exists()


def test_announced_length_too_short(server, get):
    server.routes["/x"] = serve(length=1000)
    with pytest.raises(WeightsError, match="is [0-9a-f]{8}"):
        get()
    assert left_over(get) == []


def test_more_than_allowed(server, get):
    server.routes["/x"] = serve()
    server.routes["/y"] = serve(length=False)
    with pytest.raises(WeightsError, match=r"offers 300002 bytes, more.*sends more than"):
        get(server.url("/x"), server.url("/y"), limit=250_000)
    assert not get.target.exists()


def test_other_size_than_known(server, get):
    server.routes["/x"] = serve()
    server.routes["/y"] = serve(length=False)
    with pytest.raises(WeightsError, match="offers 300002 bytes instead of 7.*sent 300002 bytes"):
        get(server.url("/x"), server.url("/y"), size=7)


@pytest.mark.parametrize("page,kind", [
    (b"<!DOCTYPE html><title>Virus scan warning</title>", "text/html; charset=utf-8"),
    (b"<html>sign in</html>", "application/octet-stream"),
    (b"\xef\xbb\xbf \n<HTML>", "application/zip")])
def test_web_pages_are_refused(server, get, page, kind):
    server.routes["/x"] = serve(page, kind=kind)
    with pytest.raises(WeightsError, match="web page"):
        get(check=lambda sha: None)
    assert not get.target.exists()


def test_page_after_half_the_file(server, get):
    page = serve(b"<html>", kind="text/html", ranges=False)
    server.routes["/x"] = in_turn(serve(cut=100_000), page)
    with pytest.raises(WeightsError, match="web page"):
        get()
    assert "file.part" in left_over(get)  # the good half is kept for later


def test_empty_answer(server, get):
    server.routes["/x"] = serve(b"", length=False)
    with pytest.raises(WeightsError, match="empty"):
        get(check=lambda sha: None)


def test_wrong_file_goes_to_the_next_mirror(server, get):
    server.routes["/wrong"] = serve(b"PK something else")
    server.routes["/x"] = serve()
    assert get(server.url("/wrong"), server.url("/x")).url == server.url("/x")


def test_compressed_transfer_is_refused(server, get):
    server.routes["/x"] = serve(Content_Encoding="gzip")
    with pytest.raises(WeightsError, match="compressed"):
        get()


# Errors and redirects


def test_transient_errors_are_tried_again(server, get):
    server.routes["/x"] = in_turn(fail(503, Retry_After="7"), fail(500), serve())
    assert get().sha256 == SHA256
    assert get.waits == [7.0, 1.0]


def test_a_server_cannot_make_us_wait_for_ever(server, get):
    server.routes["/x"] = in_turn(fail(429, Retry_After="86400"), serve())
    get()
    assert get.waits == [30.0]


def test_final_errors_are_not_tried_again(server, get):
    server.routes["/gone"] = fail(404)
    server.routes["/x"] = serve()
    assert get(server.url("/gone"), server.url("/x")).sha256 == SHA256
    assert [path for path, _ in server.requests] == ["/gone", "/x"] and not get.waits


def test_all_mirrors_fail_and_each_says_why(server, get):
    server.routes["/gone"] = fail(404)
    closed = "http://127.0.0.1:9/x"
    with pytest.raises(WeightsError) as caught:
        get(server.url("/gone"), closed, attempts=2)
    assert "answers 404" in str(caught.value) and "no connection" in str(caught.value)
    assert "--from FILE" in caught.value.hint and "thing" in str(caught.value)


def test_redirects_are_followed(server, get):
    server.routes["/x"] = fail(302, Location="/y")
    server.routes["/y"] = serve()
    assert get().sha256 == SHA256


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirects_to_other_kinds_of_address(server, get, location):
    server.routes["/x"] = fail(302, Location=location)
    with pytest.raises(WeightsError, match="unsafe address|answers 302"):
        get()


def test_redirect_loop(server, get):
    server.routes["/x"] = fail(302, Location="/x")
    with pytest.raises(WeightsError, match="answers 302"):
        get()


def test_https_never_becomes_http():
    import urllib.request

    request = urllib.request.Request("https://example.org/x")
    with pytest.raises(module._GiveUp, match="unsafe"):
        module._Redirects().redirect_request(request, io.BytesIO(), 302, "", {}, "http://e.org/")


def test_nonsense_instead_of_http(server, get):
    server.routes["/x"] = lambda handler: handler.wfile.write(b"hello\r\n\r\n")
    with pytest.raises(WeightsError, match="connection broke"):
        get(attempts=2)


# Certificates


def test_certificates_are_checked_although_jittor_switches_that_off(monkeypatch):
    monkeypatch.setattr(ssl, "_create_default_https_context", ssl._create_unverified_context)
    handlers = [handler for handler in module._opener().handlers
                if type(handler).__name__ == "HTTPSHandler"]
    assert len(handlers) == 1
    assert handlers[0]._context.verify_mode == ssl.CERT_REQUIRED
    assert handlers[0]._context.check_hostname


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_self_signed_server_is_refused(server, get, tmp_path, monkeypatch):
    monkeypatch.setattr(ssl, "_create_default_https_context", ssl._create_unverified_context)
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", certificate,
                    "-days", "2", "-subj", "/CN=127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.routes["/x"] = serve()
    with pytest.raises(WeightsError, match="certificate cannot be verified"):
        get(server.url("/x").replace("http:", "https:"))
    assert server.requests == []


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
