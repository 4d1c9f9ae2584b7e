"""How the local server of the tests answers: honestly, in pieces, with errors."""

from __future__ import annotations

import hashlib
import time

import numpy as np

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
