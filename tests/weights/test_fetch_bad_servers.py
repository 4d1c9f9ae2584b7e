"""Fetching from servers that lie, fail, redirect, or cannot be trusted."""

from __future__ import annotations

import io
import shutil
import ssl
import subprocess

import pytest
from routes import CONTENT, SHA256, fail, in_turn, serve

from restore_cli.errors import WeightsError
from restore_cli.weights import fetch as module

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
    assert get.left_over() == []


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
    assert "file.part" in get.left_over()  # the good half is kept for later


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
