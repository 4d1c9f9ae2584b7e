"""Libraries of operators: arrays and numbers arrive, one compilation lasts, failures are told."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from restore_cli.errors import DeviceError

pytestmark = pytest.mark.usefixtures("engine")

SUMS = """
RESTORE_OPERATOR(weighted_sums) {
  const restore::Array& from = call.in(0);
  const int32_t* which = call.in(1).integers();
  for (int64_t i = 0; i < from.shape[0]; i++) {
    double sum = call.is("begin") ? 1 : 0;
    for (int64_t k = 0; k < from.shape[1]; k++) sum += from.floats()[i * from.shape[1] + k];
    call.out(0).floats()[i] = (float)(sum * call.number("factor"));
  }
  call.out(1).floats()[0] = (float)which[call.integer("place")] + call.in(0).bytes;
}
"""


@pytest.fixture
def library(monkeypatch, tmp_path):
    """A maker of libraries of these texts, kept in a folder of their own."""
    import jittor as jt

    from restore_cli.nets.ops import library, native

    true, texts = native.source, {}
    monkeypatch.setattr(native, "source", lambda name: texts.get(name) or true(name))
    monkeypatch.setattr(library, "_folder", lambda: tmp_path / "made")

    def make(text: str):
        texts["texts.cc"] = text
        return library.Library("texts.cc")

    make.jt, make.folder = jt, tmp_path / "made"
    return make


def test_arrays_and_numbers_arrive(library):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    sums, last = library(SUMS).run("weighted_sums", [(2,), (1,)],
                                   [library.jt.array(x), library.jt.array(np.int32([5, 7]))],
                                   factor=0.5, begin=True, place=1)
    assert sums.numpy().tolist() == [2.0, 6.5]
    assert last.numpy().tolist() == [7 + 24]


def test_compiled_once(library, monkeypatch):
    from restore_cli.nets.ops import library as module

    library(SUMS).load()
    made = list(library.folder.iterdir())
    assert [path.suffix for path in made] == [".so"]
    before = made[0].stat().st_mtime_ns
    monkeypatch.setattr(module, "_compile", lambda *_: pytest.fail("compiled again"))
    library(SUMS).load()
    assert made[0].stat().st_mtime_ns == before


def test_a_changed_text_is_compiled(library):
    library(SUMS).load()
    library(SUMS.replace("sum *", "sum +")).load()
    assert len(list(library.folder.iterdir())) == 2


def test_threads_compile_it_once(library, monkeypatch):
    from restore_cli.nets.ops import library as module

    true, calls = module._compile, []
    monkeypatch.setattr(module, "_compile", lambda *given: calls.append(1) or true(*given))
    made = library(SUMS)
    threads = [threading.Thread(target=made.load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_what_does_not_compile_is_told_and_leaves_nothing(library):
    with pytest.raises(DeviceError, match="nothing_of_this_name") as caught:
        library("RESTORE_OPERATOR(bad) { nothing_of_this_name(); }").load()
    assert caught.value.hint == "Type: restore doctor"
    assert not list(Path(library.folder).iterdir())


def test_a_folder_that_cannot_be_made_is_told(library):
    library.folder.write_text("a file")
    with pytest.raises(DeviceError, match="cannot be compiled"):
        library(SUMS).load()


def test_a_spoiled_library_is_told(library):
    made = library(SUMS)
    made._compiled().write_bytes(b"no library")
    with pytest.raises(DeviceError, match="loaded"):
        made.load()
