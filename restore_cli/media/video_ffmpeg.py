"""The ffmpeg program that imageio-ffmpeg brings: where it is, running it, what it says."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import threading
from collections import deque
from pathlib import Path
from typing import Any

from restore_cli.errors import DeviceError, OutputError

_NOISE = ("Conversion failed", "Error while filtering", "Nothing was written", "Terminating",
          "Task finished with error", "received no packets", "Error closing file",
          "Could not open encoder before EOF", "Error sending frames to consumers",
          "Error opening output file", "Error submitting", "Error splitting the argument",
          "maybe incorrect parameters", "Error muxing a packet", "Last message repeated")
_TAG = re.compile(r"^(\[[^\]]*\] ?)+")
_GRAVE = re.compile(r"\[(error|fatal|panic)\]")


def executable() -> str:
    """Path of ffmpeg: `IMAGEIO_FFMPEG_EXE`, the one in imageio-ffmpeg, or the system's.

    Raises:
        DeviceError: there is none.
    """
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise DeviceError("no ffmpeg program found to encode with",
                          hint="Type: pip install --force-reinstall imageio-ffmpeg") from error


class Process:
    """A running ffmpeg whose messages are collected.

    Args:
        arguments: everything after the program name and its general options.
        stdin: what it reads, `subprocess.PIPE` to write to `self.stdin`.
        stdout: what ``pipe:1`` is, `subprocess.PIPE` to read from `self.stdout`.

    It runs in a process group of its own: Ctrl-C is ours to handle.
    """

    def __init__(self, arguments: list[str], *, stdin: int = subprocess.DEVNULL,
                 stdout: int = subprocess.DEVNULL):
        options: dict[str, Any] = {}
        if os.name == "nt":
            options["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
        else:
            options["start_new_session"] = True
        command = [executable(), "-hide_banner", "-loglevel", "level+warning", "-nostats",
                   "-nostdin", "-y", *arguments]
        try:
            self._process = subprocess.Popen(command, stdin=stdin, stdout=stdout,
                                             stderr=subprocess.PIPE, **options)
        except OSError as error:
            raise DeviceError(f"ffmpeg does not start: {error.strerror or error}",
                              path=command[0]) from error
        self.stdin, self.stdout = self._process.stdin, self._process.stdout
        self._lines: deque[str] = deque(maxlen=60)
        self._reader = threading.Thread(target=self._read, name="ffmpeg messages", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        with stream:
            for line in stream:
                self._lines.append(line.decode("utf-8", "replace").strip())

    def wait(self, target: str | Path) -> None:
        """Closes its input and waits.

        Raises:
            OutputError: it failed; the message has its words.
        """
        if self.stdin is not None:
            try:
                self.stdin.close()
            except OSError:
                pass  # it is gone already; its exit status tells more
        status = self._process.wait()
        self._reader.join(10)
        if status:
            words = f": {self.words()}" if status > 0 or self._lines else ""
            raise OutputError(f"ffmpeg {_ended(status)}{words}", path=target,
                              hint=_hint(self.words()))

    def kill(self) -> None:
        """Ends it at once; its output is not to be used."""
        if self._process.poll() is None:
            self._process.kill()
        if self.stdin is not None:
            try:
                self.stdin.close()
            except OSError:
                pass  # what was still buffered has no reader
        self._process.wait()
        self._reader.join(10)

    def words(self) -> str:
        """What ffmpeg said was wrong, without its own noise, in one line."""
        lines = [line for line in self._lines if not any(word in line for word in _NOISE)]
        grave = [line for line in lines if _GRAVE.search(line)]
        # The first error is the cause of the others; of mere warnings the last is nearest.
        telling = grave[:2] if grave else lines[-2:]
        kept = dict.fromkeys(_TAG.sub("", line).rstrip(". ") for line in telling)
        return "; ".join(one for one in kept if one)[:400] or "it gave no reason"


def local(path: str | Path) -> str:
    """A file name that ffmpeg cannot take for anything else, such as `a:b.mp4`."""
    return f"file:{path}"


@functools.cache
def scale_has(option: str) -> bool:
    """Whether the scale filter of this ffmpeg has an option; they differ between versions."""
    done = subprocess.run([executable(), "-hide_banner", "-h", "filter=scale"],
                          stdin=subprocess.DEVNULL, capture_output=True)
    return re.search(rb"^\s+" + option.encode() + rb"\s", done.stdout, re.M) is not None


def complaint(path: str | Path) -> str:
    """What ffmpeg says about a file that cannot be opened; empty when it says nothing."""
    try:
        done = subprocess.run([executable(), "-hide_banner", "-loglevel", "error", "-nostdin",
                               "-i", local(path), "-f", "null", "-t", "0", "-"],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired, DeviceError):
        return ""
    lines = [_TAG.sub("", line.strip()) for line in done.stderr.decode("utf-8", "replace")
             .splitlines()]
    lines = [line for line in lines if line and "Error opening input" not in line]
    return lines[0][:160] if lines else ""


def _ended(status: int) -> str:
    if status < 0:
        return f"was killed by signal {-status}"
    return f"failed with status {status}"


def _hint(words: str) -> str | None:
    low = words.lower()
    if "no space left" in low or "disk quota" in low:
        return "Free some space or choose another folder"
    if "unrecognized option" in low or "option not found" in low or "unknown encoder" in low:
        return "Check --ffmpeg-args and --codec"
    return None
