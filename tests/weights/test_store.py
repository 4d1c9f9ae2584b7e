"""The weight store: finding, fetching, damage, trust."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, WeightsError
from restore_cli.weights import files
from restore_cli.weights.convert import convert
from restore_cli.weights.fetch import Fetcher
from restore_cli.weights.hashing import sha256_of
from restore_cli.weights.manifest import Entry, Manifest
from restore_cli.weights.store import Store

CONFIG = {"encoder_spec": {"name": "edsr-baseline",
                           "args": {"no_upsampling": True, "n_resblocks": 2, "n_feats": 16}},
          "imnet_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [64, 64]}}}


@pytest.fixture
def source(tmp_path, golden_file):
    """A published checkpoint, on this disk."""
    path = tmp_path / "published" / "liif.pth"
    path.parent.mkdir()
    path.write_bytes(golden_file("liif_tiny.pth").read_bytes())
    return path


@pytest.fixture
def make(tmp_path, source):
    """Makes a Store whose manifest knows 'tiny' (and others); keywords change the entry."""

    def build(environ=None, console=None, **changes):
        tiny = Entry(**{**dict(name="tiny", task="upscale", arch="liif", config=CONFIG,
                               licence="BSD", commercial="unstated", source="here",
                               training_data="none", urls=(source.as_uri(),)), **changes})
        shipped = replace(tiny, name="shipped", urls=(), shipped="shipped.safetensors",
                          sha256="unpinned", default=True)
        noise = replace(tiny, name="noise", task="denoise")
        entries = {entry.name: entry for entry in (shipped, tiny, noise)}
        return Store(tmp_path / "cache" / "weights", environ or {},
                     manifest=Manifest(entries, tmp_path / "m.toml"), console=console,
                     fetcher=Fetcher(console, environ or {}, wait=lambda seconds: None),
                     shipped=tmp_path / "shipped")

    return build


def test_fetch_converts_and_remembers(make, source):
    store = make()
    path = store.fetch("tiny")
    assert path == store.root / "tiny.safetensors"
    weights, original = files.read(path), convert(source)[0]
    assert all(np.array_equal(weights.tensors[key], tensor)
               for key, tensor in original.tensors.items())
    assert weights.metadata["source"] == source.as_uri()
    assert weights.metadata["source_sha256"] == sha256_of(source)
    assert weights.metadata["licence"] == "BSD" and weights.metadata["name"] == "tiny"
    record = json.loads((store.root / "tiny.json").read_text())
    assert record["sha256"] == sha256_of(path) and record["source_sha256"] == sha256_of(source)
    names = {item.name for item in store.root.iterdir() if not item.name.startswith(".")}
    assert names == {"tiny.safetensors", "tiny.json", "trusted.json"}


def test_find_fetches_once(make, source):
    store = make()
    path = store.find("tiny")
    source.unlink()
    assert make().find("tiny") == path
    assert make({"RESTORE_OFFLINE": "1"}).find("tiny") == path


def test_find_takes_files_as_they_are(make, source, tmp_path, monkeypatch):
    store = make()
    assert store.find(source) == source and store.find(str(source)) == source
    monkeypatch.chdir(source.parent)
    assert store.find("liif.pth").name == "liif.pth"
    for absent in ("absent.pth", "folder/absent", tmp_path / "tiny"):
        with pytest.raises(WeightsError, match="no such weight file"):
            store.find(absent)


def test_names_win_over_files_of_the_same_name(make, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").write_text("not weights")
    assert make().find("tiny").name == "tiny.safetensors"


def test_find_refuses_wrong_names(make):
    with pytest.raises(WeightsError, match="no weights are called 'tin'") as caught:
        make().find("tin")
    assert caught.value.hint == "Did you mean tiny?" and caught.value.status == ExitStatus.WEIGHTS
    with pytest.raises(WeightsError, match="for 'denoise', not for 'upscale'"):
        make().find("noise")
    with pytest.raises(WeightsError, match="no default weights for 'denoise'"):
        make().find(None, "denoise")


def test_default_is_shipped_and_needs_no_cache(make, source, tmp_path):
    store = make({"RESTORE_OFFLINE": "1"})
    with pytest.raises(WeightsError, match="'shipped' are missing"):
        store.find()
    files.write(store.shipped / "shipped.safetensors", convert(source)[0])
    assert store.find() == store.find("shipped") == store.shipped / "shipped.safetensors"
    assert store.fetch("shipped") == store.find()
    assert not store.root.exists()
    with pytest.raises(WeightsError, match="stay"):
        store.remove("shipped")


def test_pinned_shipped_file(make, source, tmp_path):
    store = make()
    path = store.shipped / "shipped.safetensors"
    files.write(path, convert(source)[0])
    entries = dict(store.manifest.entries)
    for digest, state in ((sha256_of(path), "shipped"), ("0" * 64, "damaged")):
        entries["shipped"] = replace(entries["shipped"], sha256=digest)
        store.manifest = Manifest(entries, tmp_path / "m.toml")
        assert store.status("shipped").state == state
    with pytest.raises(WeightsError, match="damaged"):
        store.find()


def test_states(make):
    store = make()
    assert [status.state for status in store.list()] == ["missing", "not fetched", "not fetched"]
    assert [status.entry.name for status in store.list("denoise")] == ["noise"]
    store.fetch("tiny")
    assert store.status("tiny").state == "cached"
    assert store.status("tiny").size == (store.root / "tiny.safetensors").stat().st_size


def flip(path, position=-5):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [
    flip, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(path.read_bytes()[:99]),
    lambda path: path.with_suffix(".json").unlink(),
    lambda path: path.with_suffix(".json").write_text("{")])
def test_damaged_cache_is_noticed_and_mended(make, damage):
    import io

    stderr = io.StringIO()
    console = Console(stderr=stderr)
    store = make(console=console)
    path = store.fetch("tiny")
    sound = path.read_bytes()
    damage(path)
    assert store.status("tiny").state == "damaged"
    with pytest.raises(WeightsError, match="damaged"):
        make({"RESTORE_OFFLINE": "1"}).find("tiny")
    assert store.find("tiny").read_bytes() == sound
    assert "fetching again" in stderr.getvalue()
    assert store.status("tiny").state == "cached"


def test_verify(make):
    store = make()
    store.fetch("tiny")
    assert {status.entry.name: status.state for status in store.verify()} == {
        "shipped": "missing", "tiny": "cached"}
    assert [status.state for status in store.verify(["tiny", "noise"])] == ["cached",
                                                                            "not fetched"]
    flip(store.root / "tiny.safetensors")
    assert store.verify(["tiny"])[0].state == "damaged"


def test_verify_reads_what_has_the_right_hash(make):
    store = make()
    path = store.fetch("tiny")
    path.write_bytes(b"not weights")
    record = json.loads((store.root / "tiny.json").read_text())
    (store.root / "tiny.json").write_text(json.dumps({**record, "sha256": sha256_of(path)}))
    assert store.status("tiny").state == "cached"
    assert store.verify(["tiny"])[0].state == "damaged"


def test_verify_holds_shipped_files_against_the_manifest(make, source, golden_file):
    store = make()
    path = store.shipped / "shipped.safetensors"
    for name, state in (("liif_tiny.pth", "shipped"), ("metasr_tiny_legacy.pth", "damaged")):
        files.write(path, convert(golden_file(name))[0])
        assert store.verify(["shipped"])[0].state == state


# Hashes and trust


def test_full_and_partial_hashes(make, source):
    digest = sha256_of(source)
    for good in (digest, f"prefix:{digest[:8]}"):
        assert make(sha256=good).fetch("tiny", force=True).is_file()
    for bad in ("0" * 64, "prefix:00000000"):
        with pytest.raises(WeightsError, match="it is another file"):
            make(sha256=bad).fetch("tiny", force=True)
    assert make(sha256="prefix:00000000").status("tiny").state == "damaged"


def other_checkpoint(source):
    """The same network with other numbers, still a sound checkpoint."""
    import crafted

    tensors = {key: tensor + 1 for key, tensor in convert(source)[0].tensors.items()}
    return crafted.state_file(tensors, wrap=lambda state: {
        "model": {"name": "liif", "args": CONFIG, "sd": state}})


def test_first_use_is_trusted_and_a_change_refused(make, source):
    store = make()
    path = store.fetch("tiny")
    first = path.read_bytes()
    source.write_bytes(other_checkpoint(source))
    with pytest.raises(WeightsError, match="has changed since it was first fetched"):
        store.fetch("tiny", force=True)
    assert path.read_bytes() == first
    store.remove("tiny")  # the record outlives the file
    with pytest.raises(WeightsError, match="has changed"):
        store.find("tiny")
    store.remove("tiny", forget=True)
    assert store.find("tiny").read_bytes() != first


def test_unusable_files_are_not_trusted(make, source):
    good = source.read_bytes()
    source.write_bytes(good[:5000])
    store = make()
    with pytest.raises(WeightsError, match="fetched from .* but cannot be used"):
        store.fetch("tiny")
    assert [item.name for item in store.root.iterdir() if not item.name.startswith(".")] == []
    source.write_bytes(good)
    assert store.fetch("tiny").is_file()


def test_a_damaged_record_of_trust_is_not_ignored(make):
    store = make()
    store.fetch("tiny")
    for text in ("{", "[]", '{"tiny": 3}'):
        (store.root / "trusted.json").write_text(text)
        with pytest.raises(WeightsError, match="record of trusted files is damaged"):
            store.fetch("tiny", force=True)


def test_safetensors_can_be_published_too(make, source, tmp_path):
    published = tmp_path / "published.safetensors"
    weights = convert(source)[0]
    weights.metadata["training"] = "{}"
    files.write(published, weights, dtype="float16")
    found = files.read(make(urls=(published.as_uri(),)).fetch("tiny"))
    assert found.metadata["source"] == published.as_uri() and found.metadata["training"] == "{}"
    assert found.metadata["source_sha256"] == sha256_of(published)
    key = "imnet.layers.0.weight"
    assert np.array_equal(found.tensors[key], weights.tensors[key].astype(np.float16))


def test_other_network_under_the_name(make, golden_file):
    wrong = golden_file("metasr_tiny_legacy.pth").as_uri()
    with pytest.raises(WeightsError, match="not the 'liif' announced"):
        make(urls=(wrong,)).fetch("tiny")


def test_hostile_checkpoint_is_refused(make, source):
    import pickle

    class Evil:
        def __reduce__(self):
            return os.system, ("true",)

    source.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError, match="nothing was run"):
        make().fetch("tiny")


def test_fetching_from_elsewhere(make, source, tmp_path):
    copy = tmp_path / "my copy.pth"
    copy.write_bytes(source.read_bytes())
    source.unlink()
    store = make({"RESTORE_OFFLINE": "1"}, sha256=sha256_of(copy))
    assert store.fetch("tiny", source=str(copy)).is_file() and copy.is_file()


def test_http_source_over_a_bad_line(make, server, source):
    content = source.read_bytes()

    def route(handler):
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(content) - start))
        handler.send_header("ETag", '"1"')
        handler.end_headers()
        handler.wfile.write(content[start:start + 150_000])

    server.routes["/tiny.pth"] = route
    store = make(urls=(server.url("/tiny.pth"),))
    assert files.read(store.find("tiny")).arch == "liif"
    assert len(server.requests) == 3


def test_remove(make):
    store = make()
    size = store.fetch("tiny").stat().st_size
    (store.root / "tiny.download.part").write_bytes(b"x" * 100)
    assert store.remove("tiny") >= size + 100
    assert store.status("tiny").state == "not fetched"
    assert store.remove("tiny") == 0


# Several processes


def test_two_at_once_fetch_once(make, server, source):
    content = source.read_bytes()

    def slow(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        time.sleep(0.2)
        handler.wfile.write(content)

    server.routes["/x"] = slow
    found, failures = [], []

    def work():
        try:
            found.append(make(urls=(server.url("/x"),)).find("tiny"))
        except WeightsError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(found) == 4 and len(server.requests) == 1


def test_waiting_is_announced(make, tmp_path):
    import io

    stderr = io.StringIO()
    store = make(console=Console(stderr=stderr))
    store.root.mkdir(parents=True)
    hold = ("import sys, time; from filelock import FileLock\n"
            "with FileLock(sys.argv[1]): print(flush=True); time.sleep(0.3)")
    with subprocess.Popen([sys.executable, "-c", hold, store.root / ".tiny.lock"],
                          stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()  # it has the lock
        assert store.find("tiny").is_file()
    assert "waiting for another process" in stderr.getvalue()


def test_cache_that_cannot_be_made(make, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match="cache cannot be written") as caught:
        make().find("tiny")
    assert "RESTORE_CACHE" in caught.value.hint


def test_place_follows_the_environment(tmp_path):
    store = Store(environ={"RESTORE_CACHE": str(tmp_path)})
    assert store.root == tmp_path / "weights"
    assert "edsr-baseline-liif" in store.manifest.entries
