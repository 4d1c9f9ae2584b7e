"""PyTorch in a process of its own, for `restore bench --against torch`.

Its OpenMP and oneDNN must not meet Jittor's. What is computed there is a `Session`; the other
side asks for its methods by name, one at a time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.errors import RestoreError, UsageError


def require() -> None:
    """Raises a UsageError with the command that installs PyTorch when it is missing."""
    if importlib.util.find_spec("torch") is None:
        raise UsageError("--against torch needs PyTorch, which is not installed",
                         hint="Type: pip install torch --index-url "
                              "https://download.pytorch.org/whl/cpu")


class Session:
    """What the worker process holds between requests.

    Args:
        device: "cpu" or "cuda:N".
    """

    def __init__(self, device: str):
        self._device = device

    def answer(self, name: str, arguments: tuple) -> Any:
        """The method `name` called with `arguments`."""
        return getattr(self, name)(*arguments)

    def _clock(self, work: Callable[[], Any]) -> float:
        self._wait()
        begin = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - begin

    def _wait(self) -> None:
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()

    def _faster_format(self, make: Callable[[bool], Callable[[], Any]]) -> bool:
        """Whether `make(channels_last)()` runs faster with True, after one untimed run each."""
        times = {}
        for channels_last in (False, True):
            work = make(channels_last)
            work()
            times[channels_last] = min(self._clock(work) for _ in range(3))
        return times[True] < times[False]


class Worker:
    """A session in a process of its own. Use as a context manager.

    Args:
        make: a `Session` class.
        arguments: its arguments but the device, all picklable.
        device: "cpu" or "cuda:N".
        threads: CPU threads.

    Attributes:
        about: "torch" (version) and "threads".

    Raises:
        UsageError: PyTorch is missing.
        RestoreError: the session could not be made.
    """

    def __init__(self, make: Callable[..., Session], arguments: tuple, device: str, threads: int):
        require()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, make, arguments, device, threads), daemon=True)
        self._process.start()
        theirs.close()
        self.about: dict[str, Any] = self._receive()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._pipe.close()

    def ask(self, name: str, *arguments: Any) -> Any:
        """What the session's method answers.

        Raises:
            RestoreError: it failed, or the process died.
        """
        self._pipe.send((name, arguments))
        return self._receive()

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join(5)
            raise RestoreError("the PyTorch process died (exit status "
                               f"{self._process.exitcode}); it may have run out of memory",
                               hint="Try a smaller --size") from None
        if isinstance(answer, str) and answer.startswith("error: "):
            raise RestoreError(f"PyTorch: {answer[7:]}")
        return answer


class NetworkWorker(Worker):
    """A worker whose session runs and trains networks and turns files into files."""

    def run(self, network: str, part: str) -> float:
        """Seconds of one "train" or "network"."""
        return self.ask("run", network, part)

    def file(self, network: str, source: Path, target: Path) -> float:
        """Seconds from a file to its result."""
        return self.ask("file", network, str(source), str(target))

    def outputs(self, network: str) -> np.ndarray:
        """Output for the network's input, with the weights given."""
        return self.ask("outputs", network)

    def losses(self, network: str) -> list[float]:
        """Loss of each step of a training that starts from the weights given."""
        return self.ask("losses", network)


def _serve(pipe, make: Callable[..., Session], arguments: tuple, device: str,
           threads: int) -> None:
    """The worker process: answers requests until it gets None."""
    try:
        import torch

        torch.set_num_threads(threads)
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise RuntimeError("this build of PyTorch sees no CUDA device")
        # As ours: float32 throughout, no TF32.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        session = make(*arguments, device)
        pipe.send({"torch": torch.__version__, "threads": torch.get_num_threads()})
        while (request := pipe.recv()) is not None:
            pipe.send(session.answer(*request))
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as error:  # the other side turns it into a message
        with contextlib.suppress(OSError):
            pipe.send(f"error: {type(error).__name__}: {error}")
