"""The list of known weights."""

from __future__ import annotations

import pytest

from restore_cli.errors import WeightsError
from restore_cli.nets.layout import layout
from restore_cli.weights import manifest

PUBLISHED = ["edsr-baseline-liif", "rdn-liif", "liif-edsr-openmmlab", "liif-rdn-openmmlab",
             "edsr-baseline-x2", "edsr-baseline-x3", "edsr-baseline-x4",
             "edsr-x2", "edsr-x3", "edsr-x4"]
DENOISERS = [*(f"n2v-unet-sigma{sigma}{made}" for made in ("", "-jittor")
               for sigma in (10, 25, 30, 50)), "n2n-gaussian", "n2n-gaussian-clean"]
GOOD = """
[weights.a]
task = "upscale"
arch = "liif"
urls = ["https://example.org/a.pth"]
licence = "MIT"
commercial = "yes"
source = "example.org"
training_data = "none"
config = {}
"""


@pytest.fixture
def known():
    return manifest.load({})


@pytest.mark.parametrize(("name", "task"), [*((name, "upscale") for name in PUBLISHED),
                                            *((name, "denoise") for name in DENOISERS)])
def test_published_files_are_listed_with_terms(known, name, task):
    entry = known.entries[name]
    assert entry.task == task and entry.urls and entry.shipped is None
    assert all(url.startswith("https://") for url in entry.urls)
    assert entry.licence and entry.source and entry.training_data
    assert not any("dropbox" in url and "dl=1" not in url for url in entry.urls)


def test_every_entry_fits_a_network_and_its_size(known):
    for entry in known.entries.values():
        parameters = layout(entry.arch, entry.config).parameters
        assert parameters > 0 and entry.limit > 4 * parameters


def test_hashes_in_published_names(known):
    for entry in known.entries.values():
        for url in entry.urls:
            if entry.sha256.startswith("prefix:"):
                prefix = entry.sha256.removeprefix("prefix:")
                assert prefix in url and entry.accepts(prefix + "0" * (64 - len(prefix)))
                assert not entry.accepts("f" * 64)


def test_denoisers_say_how_they_are_fed(known):
    for name in DENOISERS:
        entry = known.entries[name]
        eight_bit = name.startswith("n2n")
        assert entry.normalisation["kind"] == "unit"
        assert entry.normalisation["clip"] is eight_bit
        assert ("quantise" in entry.normalisation) is eight_bit
        assert "[" not in "".join(entry.urls)  # %5B, or servers and globs stumble


def test_files_are_known_by_their_whole_hash(known):
    entry = known.entries["n2n-gaussian-clean"]
    assert known.published(entry.sha256) is entry
    assert known.published("f" * 64) is None and known.published("unpinned") is None


def test_one_default_a_task_and_it_is_shipped(known):
    default = known.default("upscale")
    assert default.name == "liif-compact" and default.shipped and not default.urls
    assert sum(entry.default for entry in known.entries.values()
               if entry.task == "upscale") == 1
    with pytest.raises(WeightsError, match="no default weights for 'dance'"):
        known.default("dance")


def test_packaged_copy_is_found(tmp_path, monkeypatch):
    package = tmp_path / "restore_cli"
    (package / "weights").mkdir(parents=True)
    monkeypatch.setattr(manifest, "__file__", str(package / "weights" / "manifest.py"))
    with pytest.raises(WeightsError, match="missing"):
        manifest.find({})
    (tmp_path / "weights_manifest.toml").touch()
    assert manifest.find({}) == tmp_path.resolve() / "weights_manifest.toml"
    (package / "weights_manifest.toml").touch()
    assert manifest.find({}) == package.resolve() / "weights_manifest.toml"


def test_another_list_can_be_named(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    assert list(manifest.load({"RESTORE_MANIFEST": str(path)}).entries) == ["a"]


@pytest.mark.parametrize("change,message", [
    (("[weights.a]", "[weights.a"), "cannot be read"),
    (("[weights.a]", '[weights."../a"]'), "names are"),
    (('licence = "MIT"', ""), "licence"), (('licence', "license"), "license"),
    (('commercial = "yes"', 'commercial = "maybe"'), "commercial must be"),
    (("config = {}", 'config = {}\nsha256 = "prefix:12"'), "is no hash"),
    (("config = {}", "config = {}\nsize = 10\nlimit = 5"), "exceeds"),
    (('urls = ["https://example.org/a.pth"]', ""), "neither urls nor shipped"),
    (('urls = ["https://example.org/a.pth"]', 'shipped = "../x"'), "plain file name"),
    (("https://", "ftp://"), "urls start with"),
])
def test_mistakes_are_told_with_their_place(tmp_path, change, message):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(WeightsError, match=message) as caught:
        manifest.load({"RESTORE_MANIFEST": str(path)})
    assert caught.value.path == path


def test_a_missing_list(tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        manifest.load({"RESTORE_MANIFEST": str(tmp_path / "none.toml")})
