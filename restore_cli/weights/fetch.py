"""Downloads one file: resumable, bounded, verified, from the first mirror that delivers it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from restore_cli import __version__, units
from restore_cli.console import Console
from restore_cli.errors import WeightsError
from restore_cli.weights.sniff import describe, is_page

CHUNK = 1 << 16
MAX_TRIES = 50
SPARE_SPACE = 16 << 20
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Fetched:
    """A complete, verified file: where it came from, its size in bytes, its SHA-256."""

    url: str
    size: int
    sha256: str


@dataclass
class Fetcher:
    """How to fetch.

    Attributes:
        console: shows progress; None is silent.
        environ: ``RESTORE_OFFLINE`` (anything but empty, 0, no, false) forbids the network.
        timeout: seconds without data, or with less than a kilobyte, before a try is given up.
        attempts: tries without progress before the next mirror.
        wait: sleeps between tries (tests pass their own).
    """

    console: Console | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    timeout: float = 30.0
    attempts: int = 4
    wait: Callable[[float], Any] = time.sleep

    def fetch(self, urls: Sequence[str], target: Path, *, limit: int, size: int | None = None,
              check: Callable[[str], str | None] = lambda sha256: None,
              name: str = "") -> Fetched:
        """Fetches the first of `urls` that delivers an acceptable file to `target`.

        The data goes to ``<target>.part``, which survives failures and is continued by the
        next call, and takes its name only when complete and verified.

        Args:
            limit: most bytes to accept.
            size: exact bytes, if known.
            check: given the SHA-256, says what is wrong with it, or None.
            name: for the progress bar.

        Raises:
            WeightsError: no mirror delivered it; says why for each.
        """
        if is_offline(self.environ):
            urls = [url for url in urls if url.startswith("file://")]
            if not urls:
                raise WeightsError("not in the cache, and RESTORE_OFFLINE forbids fetching",
                                   path=name or target.name,
                                   hint="Unset RESTORE_OFFLINE, or copy the file here and use "
                                        "'restore weights fetch NAME --from FILE'")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WeightsError(f"the cache cannot be written: {error}") from error
        failures = []
        for url in urls:
            download = _Download(self, url, target, limit, size, check, name or target.name)
            try:
                return download.run()
            except _GiveUp as error:
                failures.append(f"{_host(url)}: {error}")
        raise WeightsError("could not be fetched (" + "; ".join(failures) + ")",
                           path=name or target.name,
                           hint="Try again later, or download it by hand and use "
                                "'restore weights fetch NAME --from FILE'")


def is_offline(environ: Mapping[str, str]) -> bool:
    """Whether ``RESTORE_OFFLINE`` forbids the network."""
    return environ.get("RESTORE_OFFLINE", "").strip().lower() not in ("", "0", "no", "false")


class _GiveUp(Exception):
    """This mirror will not deliver."""


class _Again(Exception):
    """Worth another try; the partial file stays. `pause` is the server's wish in seconds."""

    def __init__(self, message: str, pause: float | None = None):
        super().__init__(message)
        self.pause = pause


class _Download:
    """One file from one mirror."""

    def __init__(self, fetcher: Fetcher, url: str, target: Path, limit: int, size: int | None,
                 check: Callable[[str], str | None], name: str):
        self.fetcher, self.url, self.target, self.name = fetcher, url, target, name
        self.limit, self.size, self.check = limit, size, check
        self.part = target.with_name(target.name + ".part")
        self.facts = target.with_name(target.name + ".part.json")
        self.resumed = False

    def run(self) -> Fetched:
        failures, best = 0, 0
        for _ in range(MAX_TRIES):
            try:
                if self.url.startswith("file://"):
                    self._copy()
                else:
                    self._request()
                return self._finish()
            except _Again as error:
                reached = self._have()
                failures = 1 if reached >= best + CHUNK else failures + 1
                best = max(best, reached)
                if failures >= self.fetcher.attempts:
                    raise _GiveUp(str(error)) from error
                pause = error.pause if error.pause is not None else 0.5 * 2 ** (failures - 1)
                self.fetcher.wait(min(pause, 30.0))
        raise _GiveUp(f"still incomplete after {MAX_TRIES} tries")

    # One try

    def _request(self) -> None:
        request = urllib.request.Request(self.url, headers={
            "User-Agent": f"restore-cli/{__version__}", "Accept-Encoding": "identity"})
        start, validator = self._resumable()
        if start:
            request.add_header("Range", f"bytes={start}-")
            request.add_header("If-Range", validator)
        try:
            with _opener().open(request, timeout=self.fetcher.timeout) as response:
                self._receive(response, start, validator)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:
                self._discard()
                raise _Again("the server cannot continue the partial file", 0.0) from error
            message = f"the server answers {error.code} {error.reason}"
            if error.code in _TRANSIENT:
                raise _Again(message, _seconds(error.headers.get("Retry-After"))) from error
            raise _GiveUp(message) from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise _GiveUp("its certificate cannot be verified "
                              f"({error.reason.verify_message})") from error
            raise _Again(f"no connection ({error.reason})") from error
        except http.client.InvalidURL as error:
            raise _GiveUp(f"bad address: {error}") from error
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            raise _Again(f"the connection broke ({error or type(error).__name__})") from error

    def _receive(self, response: Any, start: int, validator: str) -> None:
        headers = response.headers
        if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise _GiveUp("it sends a web page instead of the file")
        if headers.get("Content-Encoding", "identity") != "identity":
            raise _GiveUp("it sends compressed data that was not asked for")
        if response.status == 206:
            begin, total = _content_range(headers.get("Content-Range"))
            if begin != start or _validator(headers) not in ("", validator):
                self._discard()
                raise _Again("the server continued another file", 0.0)
        elif response.status == 200:
            start, total = 0, _length(headers.get("Content-Length"))
        else:
            raise _GiveUp(f"the server answers {response.status}")
        if total is not None:
            self._judge(total)
        self.resumed = self.resumed or start > 0
        facts = {"url": self.url, "validator": _validator(headers), "total": total}
        self._write(start, total, facts, response.read1)
        if total is not None and self._have() < total:
            raise _Again(f"the connection broke after {self._have()} of {total} bytes")

    def _copy(self) -> None:
        parts = urlsplit(self.url)
        if parts.netloc not in ("", "localhost"):
            raise _GiveUp("only files of this machine")
        source = Path(urllib.request.url2pathname(parts.path))
        try:
            with source.open("rb") as file:
                total = os.fstat(file.fileno()).st_size
                self._judge(total)
                self._write(0, total, {"url": self.url, "validator": ""}, file.read)
        except OSError as error:
            raise _GiveUp(f"{source}: {error.strerror or error}") from error

    def _judge(self, total: int) -> None:
        """Refuses a wrong announced size, and a disk without room for it."""
        if total > self.limit:
            raise _GiveUp(f"it offers {total} bytes, more than the {self.limit} allowed")
        if self.size is not None and total != self.size:
            raise _GiveUp(f"it offers {total} bytes instead of {self.size}")
        needed = total - self._have() + SPARE_SPACE
        free = shutil.disk_usage(self.part.parent).free
        if free < needed:
            raise WeightsError(f"needs {units.show(needed)}, and {units.show(free)} are free",
                               path=self.part.parent,
                               hint="Free some space or set RESTORE_CACHE to another disk")

    def _write(self, start: int, total: int | None, facts: Mapping[str, Any],
               read: Callable[[int], bytes]) -> None:
        """Appends what `read` gives to the partial file."""
        try:
            self.facts.write_text(json.dumps(facts), encoding="utf-8")
            file: BinaryIO = self.part.open("r+b" if start else "wb")
        except OSError as error:
            raise _unwritable(self.part, error) from error
        bar = self._bar(start, total)
        clock, window = time.monotonic(), 0
        with file, bar:
            file.seek(start)
            file.truncate()
            have = start
            while piece := read(CHUNK):
                if have == 0 and is_page(piece[:512]):
                    raise _GiveUp("it sends a web page instead of the file")
                have, window = have + len(piece), window + len(piece)
                if have > self.limit:
                    raise _GiveUp(f"it sends more than the {self.limit} bytes allowed")
                try:
                    file.write(piece)
                except OSError as error:
                    raise _unwritable(self.part, error) from error
                bar.update(len(piece))
                now = time.monotonic()
                if now - clock > self.fetcher.timeout:
                    if window < 1024:
                        raise _Again("it hardly sends anything")
                    clock, window = now, 0

    def _finish(self) -> Fetched:
        size, digest = 0, hashlib.sha256()
        try:
            with self.part.open("rb") as file:
                head = file.read(512)
                file.seek(0)
                while piece := file.read(1 << 20):
                    digest.update(piece)
                    size += len(piece)
        except OSError as error:
            raise _unwritable(self.part, error) from error
        wrong = None
        if size == 0 or is_page(head):
            wrong = describe(head)
        elif self.size is not None and size != self.size:
            wrong = f"it sent {size} bytes instead of {self.size}"
        wrong = wrong or self.check(digest.hexdigest())
        if wrong:
            self._discard()
            if self.resumed:  # the two halves may be of different files
                self.resumed = False
                raise _Again(wrong, 0.0)
            raise _GiveUp(wrong)
        try:
            os.replace(self.part, self.target)
            self.facts.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.target, error) from error
        return Fetched(self.url, size, digest.hexdigest())

    # The partial file

    def _have(self) -> int:
        try:
            return self.part.stat().st_size
        except OSError:
            return 0

    def _resumable(self) -> tuple[int, str]:
        """Bytes to keep and the validator they belong to; (0, "") means start over."""
        have = self._have()
        try:
            facts = json.loads(self.facts.read_text(encoding="utf-8"))
            known, validator = facts["url"] == self.url, str(facts["validator"])
            total = facts.get("total")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return 0, ""
        # Without ETag or date nobody can tell whether the rest belongs to the same file. A part
        # that is complete (killed before its check) is fetched again: servers answer 416 there.
        if not (have and known and validator) or have == total:
            return 0, ""
        return have, validator

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.facts.unlink(missing_ok=True)

    def _bar(self, start: int, total: int | None):
        console = self.fetcher.console
        if console is None:
            console = Console()
            console.quiet = True
        return console.progress(total=total, desc=self.name, unit="B", unit_scale=True,
                                initial=start)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to anything less."""

    def redirect_request(self, request, file, code, message, headers, url):
        scheme = urlsplit(url).scheme
        if scheme not in ("http", "https") or (request.type == "https" and scheme != "https"):
            raise _GiveUp(f"it redirects to an unsafe address ({scheme})")
        return super().redirect_request(request, file, code, message, headers, url)


def _opener() -> urllib.request.OpenerDirector:
    # An explicit context: Jittor switches certificate checks off for the whole process.
    return urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=ssl.create_default_context()), _Redirects())


def _validator(headers: Any) -> str:
    """What identifies this version of the file: a strong ETag, else its date, else ""."""
    tag = headers.get("ETag", "")
    if tag and not tag.startswith("W/"):
        return tag
    return headers.get("Last-Modified", "")


def _content_range(value: str | None) -> tuple[int, int | None]:
    """Start and total of ``bytes 100-999/1000``; start is -1 when it makes no sense."""
    try:
        unit, rest = (value or "").split()
        span, total = rest.split("/")
        if unit != "bytes":
            return -1, None
        return int(span.split("-")[0]), None if total == "*" else int(total)
    except ValueError:
        return -1, None


def _length(value: str | None) -> int | None:
    return int(value) if value is not None and value.strip().isdigit() else None


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and value.strip().isdigit() else None


def _host(url: str) -> str:
    parts = urlsplit(url)
    return parts.hostname or parts.path


def _unwritable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(f"cannot be written: {error.strerror or error}", path=path,
                        hint="Free some space or set RESTORE_CACHE to another folder")
