"""Names: what becomes what, and what is refused before any work."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from restore_cli.errors import InputError, UsageError
from restore_cli.pipeline.naming import Item, parse_shard, plan, read_names, require_input

READABLE = {".png", ".jpg", ".tif"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def planned(*inputs, **options):
    settings = dict(output=None, suffix="_x2", readable=READABLE)
    return plan(inputs, **(settings | options))


def pairs(*inputs, **options):
    return [(str(i.source), str(i.target)) for i in planned(*inputs, **options)]


def test_beside_the_input_with_the_suffix():
    make("a.png", "sub/b.JPG")
    assert pairs("a.png", "sub/b.JPG") == [("a.png", "a_x2.png"), ("sub/b.JPG", "sub/b_x2.JPG")]


def test_suffix_with_a_dot_and_dots_in_names():
    assert pairs("my.photo.png", suffix="_x7.5") == [("my.photo.png", "my.photo_x7.5.png")]


def test_extension_fixed_or_by_input():
    assert pairs("a.jpg", extension=".png") == [("a.jpg", "a_x2.png")]
    by_input = {".gif": ".png"}.get
    assert pairs("a.gif", "b.jpg", extension=lambda e: by_input(e, e)) == [
        ("a.gif", "a_x2.png"), ("b.jpg", "b_x2.jpg")]


def test_output_file():
    make("a.png")
    assert pairs("a.png", output="out/b.tif") == [("a.png", "out/b.tif")]


def test_output_folder_existing_or_by_its_slash_keeps_names(here):
    make("a.png")
    (here / "out").mkdir()
    assert pairs("a.png", output="out") == [("a.png", "out/a.png")]
    assert pairs("a.png", output="new/") == [("a.png", "new/a.png")]
    assert pairs("a.png", output="new/", suffix_in_folder=True) == [("a.png", "new/a_x2.png")]


def test_several_inputs_make_the_output_a_folder():
    make("a.png", "b.png")
    assert pairs("a.png", "b.png", output="out") == [("a.png", "out/a.png"), ("b.png", "out/b.png")]


def test_several_inputs_to_one_file_is_refused():
    make("a.png", "b.png", "list")
    for output in ("out.png", "list"):
        with pytest.raises(UsageError, match="one file"):
            planned("a.png", "b.png", output=output)


def test_a_folder_gives_its_readable_files_sorted():
    make("in/b.png", "in/A.jpg", "in/notes.txt", "in/.hidden.png", "in/deep/c.png")
    assert pairs("in", output="out") == [("in/A.jpg", "out/A.jpg"), ("in/b.png", "out/b.png")]


def test_recursive_mirrors_the_tree():
    make("in/b.png", "in/deep/c.png", "in/deep/er/d.tif", "in/.git/e.png")
    assert pairs("in", output="out", recursive=True) == [
        ("in/b.png", "out/b.png"), ("in/deep/c.png", "out/deep/c.png"),
        ("in/deep/er/d.tif", "out/deep/er/d.tif")]


def test_an_output_folder_inside_the_input_is_not_read_again():
    make("in/a.png", "in/out/a.png")
    assert pairs("in", output="in/out", recursive=True, overwrite=True) == [
        ("in/a.png", "in/out/a.png")]


def test_results_of_an_earlier_run_are_no_inputs_when_listed():
    make("in/a.png", "in/a_x2.png", "in/b_x2.png")
    assert pairs("in", skip_existing=True) == [("in/a.png", "in/a_x2.png"),
                                               ("in/b_x2.png", "in/b_x2_x2.png")]
    assert pairs("in/*.png", skip_existing=True) == [("in/a.png", "in/a_x2.png"),
                                                     ("in/b_x2.png", "in/b_x2_x2.png")]


def test_patterns_are_expanded_when_the_shell_did_not():
    make("p/b.png", "p/a.png", "p/q/c.png", "p/d.jpg")
    assert [s for s, _ in pairs("p/*.png")] == ["p/a.png", "p/b.png"]
    assert [s for s, _ in pairs("p/**/*.png")] == ["p/a.png", "p/b.png", "p/q/c.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file():
    make("a[1].png", "a1.png")
    assert pairs("a[1].png") == [("a[1].png", "a[1]_x2.png")]


def test_a_pattern_without_match_and_a_missing_file_fail_by_themselves():
    make("a.png", "folder/x")
    items = planned("a.png", "no*.png", "gone.png", output="out")
    assert len(items) == 3
    require_input(items[0].source)
    for item, words in ((items[1], "matches"), (items[2], "no such file")):
        with pytest.raises(InputError, match=words):
            require_input(item.source)
    with pytest.raises(InputError, match="folder"):
        require_input(Path("folder"))
    require_input("-")


def test_the_same_input_twice_is_done_once():
    make("a.png", "in/b.png")
    assert len(planned("a.png", "./a.png", Path("a.png").absolute())) == 1
    assert len(planned("in", "in/b.png")) == 1


@pytest.mark.parametrize("first,second", [
    ("x/a.png", "y/a.png"), ("x/a.png", "y/A.PNG"), ("x/\u00e9.png", "y/e\u0301.png"),
    ("x/Stra\u00dfe.png", "y/STRASSE.png"),
])
def test_two_inputs_to_one_output_is_refused(first, second):
    make(first, second)
    with pytest.raises(UsageError, match="both"):
        planned(first, second, output="out")


def test_inputs_that_differ_in_extension_collide_with_a_fixed_one():
    make("a.png", "a.jpg")
    with pytest.raises(UsageError, match="both"):
        planned("a.png", "a.jpg", extension=".tif")


def test_never_onto_an_input(here):
    make("a.png", "b.png")
    for options in ({}, {"overwrite": True}, {"skip_existing": True}):
        with pytest.raises(UsageError, match="input"):
            planned("a.png", output="a.png", **options)
        with pytest.raises(UsageError, match="input"):
            planned("a.png", output=".", **options)
    with pytest.raises(UsageError, match="input"):
        planned("a.png", "b.png", output=str(here), overwrite=True)


def test_never_onto_another_input():
    make("a.png", "a_x2.png")
    with pytest.raises(UsageError, match="input"):
        planned("a.png", "a_x2.png", overwrite=True)
    items = planned("a.png", "a_x2.png", skip_existing=True)
    assert items[0].skip and items[1] == Item(Path("a_x2.png"), Path("a_x2_x2.png"))


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_never_onto_an_input_through_a_link(link):
    make("a.png")
    link(os.path.abspath("a.png"), "b.png")
    with pytest.raises(UsageError, match="input"):
        planned("a.png", output="b.png", overwrite=True)


def test_never_onto_an_input_through_a_linked_folder():
    make("in/a.png")
    os.symlink("in", "alias")
    with pytest.raises(UsageError, match="input"):
        planned("in/a.png", output="alias/", overwrite=True)


def test_an_input_that_differs_in_case_is_an_input():
    make("a.png")
    with pytest.raises(UsageError, match="input"):
        planned("a.png", output="A.PNG", overwrite=True)


def test_existing_outputs():
    make("a.png", "b.png", "a_x2.png")
    with pytest.raises(UsageError, match="exists"):
        planned("a.png", "b.png")
    assert [i.skip for i in planned("a.png", "b.png", overwrite=True)] == [None, None]
    skips = [i.skip for i in planned("a.png", "b.png", skip_existing=True)]
    assert skips == ["output exists", None]
    with pytest.raises(UsageError, match="contradict"):
        planned("a.png", overwrite=True, skip_existing=True)


def test_a_dangling_link_counts_as_existing():
    make("a.png")
    os.symlink("nowhere", "a_x2.png")
    with pytest.raises(UsageError, match="exists"):
        planned("a.png")


def test_an_output_that_is_a_folder_is_refused():
    make("a.png")
    Path("a_x2.png").mkdir()
    with pytest.raises(UsageError, match="folder"):
        planned("a.png", overwrite=True)


def test_streams():
    make("a.png", "b.png")
    assert pairs("-") == [("-", "-")]
    assert pairs("-", output="b/c.png") == [("-", "b/c.png")]
    assert pairs("a.png", output="-") == [("a.png", "-")]
    assert pairs("-", output="out/", extension=".png") == [("-", "out/stdin.png")]
    with pytest.raises(UsageError, match="stdout"):
        planned("a.png", "b.png", output="-")
    with pytest.raises(UsageError, match="once"):
        planned("-", "-", output="out/")


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 20])
def test_shards_are_disjoint_and_together_the_whole(parts):
    make(*(f"in/{i:02}.png" for i in range(13)))
    whole = planned("in", output="out")
    shards = [planned("in", output="out", shard=f"{i + 1}/{parts}") for i in range(parts)]
    assert sorted(sum(shards, []), key=str) == sorted(whole, key=str)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_a_shard_started_later_sees_the_same_list():
    make(*(f"in/{i}.png" for i in range(6)))
    before = planned("in", shard="2/2")
    for item in planned("in", shard="1/2"):
        make(str(item.target))
    assert planned("in", shard="2/2") == before


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", ""])
def test_bad_shards(text):
    with pytest.raises(UsageError):
        parse_shard(text)


def test_names_from_a_list():
    make("list")
    Path("list").write_bytes(b"a.png\r\n\nb c.png\n# d.png\n\xff.png")
    assert read_names("list", null=False, stdin=io.BytesIO()) == [
        "a.png", "b c.png", "# d.png", os.fsdecode(b"\xff.png")]
    data = io.BytesIO(b"a\nb.png\0c.png\0")
    assert read_names("-", null=True, stdin=data) == ["a\nb.png", "c.png"]
    with pytest.raises(UsageError, match="list"):
        read_names("missing", null=False, stdin=io.BytesIO())
