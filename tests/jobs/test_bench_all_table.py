"""The table of `restore bench all`, from made-up times."""

from __future__ import annotations

import json

import pytest

from restore_cli.evaluation import bench_plot
from restore_cli.jobs import bench_all_table
from restore_cli.jobs.bench_all_plan import Bench
from restore_cli.jobs.bench_all_table import Peak, Table
from restore_cli.media import images

FACTS = {"device": "cpu", "threads": 2, "rounds": 3, "jittor": "1.3", "onednn": True,
         "torch": "2.9", "torch_threads": 2}


def benched(**more):
    return Bench("upscale", "net x4", "net", "8x6", lambda console: None,
                 {"network": 5e8}, {"network": 3.0}, **more)


def record(part, ours, theirs=()):
    more = {"torch_seconds": list(theirs), "torch_format": "channels_last"} if theirs else {}
    return {"type": "bench", "part": f"net {part}", "seconds": list(ours), "device": "cpu", **more}


@pytest.fixture
def table():
    made = Table(dict(FACTS), [Peak(64, (256, 128), "direct", 1e11),
                               Peak(64, (256, 128), "winograd", 4e11),
                               Peak(128, (256, 128), "winograd", None)])
    made.rows = bench_all_table.rows(benched(same=frozenset({"train"})), [
        record("network", [0.125, 0.25, 0.125], [0.25, 0.625, 0.375]),
        record("decode", [1, 1, 1]),
        record("train", [1, 1, 1], [1, 2, 0.5])], blocked=True)
    made.failures = [("vsr", "film net", "no film")]
    return made


def test_rows_and_verdicts(table):
    network, train = table.rows  # "decode" is of no kind
    assert network.ratios == [2, 2.5, 3] and network.verdict == "missed by 0.50"
    assert train.target == 1 and train.verdict == "met" and train.rate is None
    assert network.rate == pytest.approx(8e9) and table.best == 4e11
    assert table.share(network) == pytest.approx(0.02) and table.share(train) is None
    alone, = bench_all_table.rows(benched(), [record("network", [1])], blocked=False)
    assert alone.verdict == "" and alone.layouts == ("NCHW", "")


def test_the_text_says_who_was_compared_with_whom(table):
    head, roof, header, network, train, failed, *legend = table.text().splitlines()
    assert head == ("cpu, 3 rounds, 2 threads; PyTorch 2.9, 2 threads; Jittor 1.3 with oneDNN")
    assert roof == ("3x3 convolutions of oneDNN, 128x256, GFLOP/s: direct 64 channels 100, "
                    "winograd 64 channels 400, winograd 128 channels none")
    assert network.split() == [
        "upscale", "net", "x4", "8x6", "network", "125.0", "125.0", "250.0", "250.0", "375.0",
        "625.0", "2.00", "2.50", "3.00", "no", "blocked", "channels_last", "3", "missed", "by",
        "0.50", "8", "2", "%"]
    assert train.split()[-6:] == ["2.00", "yes", "blocked", "channels_last", "1", "met"]
    assert failed == "failed: vsr, film net: no film" and len(legend) == len(bench_all_table.LEGEND)


def test_markdown_has_as_many_cells_in_every_row(table):
    lines = [line for line in table.markdown().splitlines() if line.startswith("|")]
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert "Failed: vsr, film net: no film" in table.markdown()


def test_without_a_comparison_its_columns_are_left_out(table):
    made = Table(dict(FACTS), [], bench_all_table.rows(
        benched(), [record("network", [0.1])], blocked=True))
    header, row = made.text().splitlines()[1:3]
    assert header.split() == ["system", "network", "size", "part", "ms", "min", "median", "max",
                              "GFLOP/s"]
    assert row.split()[-2:] == ["100.0", "10"] and made.bars() == []


def test_records(table):
    found = json.loads(table.encoded(".json"))
    assert [one["type"] for one in found] == ["roofline"] * 3 + ["bench-all"] * 3
    assert found[2]["flops_per_second"] is None and found[0]["size"] == [256, 128]
    assert found[3]["met"] is False and found[3]["ratios"] == [2, 2.5, 3]
    assert found[3]["share"] == pytest.approx(0.02) and found[4]["met"] is True
    assert found[5] == {"type": "bench-all", "system": "vsr", "network": "film net",
                        "status": "failed", "error": "no film"}


@pytest.mark.parametrize(("text", "part", "expected"), [
    ("channels_last", "encoder", "channels_last"),
    ("net contiguous in training, channels_last in prediction", "train", "contiguous"),
    ("net contiguous in training, channels_last in prediction", "pipeline", "channels_last"),
    ("net network contiguous; net engine channels_last", "engine", "channels_last"),
    ("net engine channels_last; net network contiguous", "pipeline", "contiguous"),
])
def test_their_layout(text, part, expected):
    assert bench_all_table.layout_of(text, "net", part) == expected


def test_the_plot_is_a_picture(table, tmp_path):
    pytest.importorskip("matplotlib")
    small = bench_plot.draw(table.bars()[:1], tmp_path / "a.png", "one")
    large = bench_plot.draw(table.bars(), tmp_path / "b.png", table.title())
    a, b = images.read(small), images.read(large)
    assert a.width == b.width and a.height < b.height
    assert b.pixels[..., :3].std() > 10
