"""The figures of tools/bench are what its runs say."""

from __future__ import annotations

import urllib.request
from xml.etree import ElementTree

from bencher import console, engines, hosts, scene, starts
from bencher.again import Figure, counting, text
from bencher.engines import START, Cost, costs_of
from bencher.measure import Contender, Run
from fakes.registry import FakeRegistry, make_image, make_layer


def contender(name: str, *cpu: float) -> Contender:
    runs = [Run(wall=2 * seconds, cpu=seconds, rss=1.0) for seconds in cpu]
    return Contender(name, lambda number: [], lambda number: {}, runs=runs)


def test_the_start_is_taken_off_and_rounds_are_compared_with_themselves() -> None:
    contenders = [contender("N1", 1.5, 2.5, 4.5), contender("F3", 2.75, 4.75, 8.75)]
    starts = {"N1": (1.0, 0.5), "F3": (1.5, 0.75)}
    native, other = costs_of("tar", contenders, starts)
    assert (native.cpu, native.cpu_ratio, native.wall, native.cpu_spread) == (2.0, 1.0, 4.0, 0.0)
    assert (other.cpu, other.cpu_ratio, other.wall) == (4.0, 2.0, 8.0)


def costs() -> list[Cost]:
    rows = [(START, "F3", 9.0), ("tar", "F3", 2.0), ("a<b", "F3", 8.0)]
    found = []
    for workload, mode, ratio in rows:
        found.append(Cost(workload, "N1", 1.0, 1.0, 1.0, 1.0, 0.0))
        found.append(Cost(workload, mode, ratio, ratio, ratio, ratio, 0.1))
    return found


def test_the_table_has_a_line_for_each_workload_and_the_mean_without_the_start() -> None:
    lines = engines.table(costs()).splitlines()
    assert [line.split()[-2:] for line in lines[2:5]] == [
        ["(", "9.00)"],
        ["(", "2.00)"],
        ["(", "8.00)"],
    ]
    assert lines[5].split() == ["geometric", "mean", "4.00"]


def test_the_chart_is_well_formed_and_cuts_long_bars() -> None:
    root = ElementTree.fromstring(engines.chart(costs()))
    widths = [int(node.get("width", "0")) for node in root.iter() if node.tag.endswith("rect")][1:]
    assert widths == [480, 240, 480]
    assert "a<b" in [node.text for node in root.iter()]


def test_the_proxy_counts_requests_and_what_comes_back() -> None:
    with FakeRegistry() as registry, counting(registry.host) as counter:
        image = make_image(registry, "a/b", "1", [make_layer({"x": bytes(100)})])
        assert counter.read() == (0, 0)
        size = 0
        for digest in (image.layers[0]["digest"], image.config["digest"]):
            url = f"http://{counter.address}/v2/a/b/blobs/{digest}"
            with urllib.request.urlopen(url, timeout=60) as reply:
                size += len(reply.read())
        requests, seen = counter.read()
        assert requests == len(registry.log) == 2
        assert size < seen < size + 1000  # and the heads


def test_a_figure_beyond_its_bar_is_told() -> None:
    title, good, bad = text([Figure("good", 2, 2), Figure("bad", 55.1, 55, "%")]).splitlines()
    assert title == "Pull once more"
    assert good.split() == ["good", "2.00", "(at", "most", "2)"]
    assert bad.split()[-1] == "MISSED"


def test_what_auto_adds_is_the_median_within_rounds() -> None:
    """A slow round is slow for both."""
    measured = [contender("N1", 0.010, 0.050, 0.011), contender("auto", 0.011, 0.051, 0.030)]
    wall, cpu = starts.figures(measured)
    assert (round(wall.value, 3), round(cpu.value, 3), wall.unit) == (2.0, 1.0, "ms")
    assert "beside N1" in wall.name
    assert "MISSED" not in text([cpu], starts.FIGURES)


def test_a_module_is_compared_with_the_program_outside_within_rounds() -> None:
    answer = [
        contender("outside", 1.0, 5.0, 1.0),
        contender("N1", 1.1, 5.1, 4.0),
        contender("F3", 1.5, 5.5, 1.5),
        contender("P1", 9.0, 9.0, 9.0),  # has no bar
    ]
    training = [contender("outside", 1.0, 2.0, 4.0), contender("F3", 1.0, 2.0, 5.0)]
    found = [(figure.name, round(figure.value, 3)) for figure in scene.figures(answer, training)]
    assert found == [
        ("first answer in N1: longer", 0.2),
        ("first answer in F3: longer", 1.0),
        ("training in F3", 1.0),
    ]


def test_rates_are_compared_within_rounds_and_the_bar_is_told() -> None:
    servers = [
        console.Server("N1", 1, 1, {"x": [100.0, 10.0, 50.0]}, {"x": [4.0, 4.0, 4.0]}),
        console.Server("F3", 2, 2, {"x": [80.0, 10.0, 40.0]}, {"x": [5.0, 4.0, 6.0]}),
    ]
    native, other = console.rates_of(servers)
    assert (native.rate, native.rate_ratio, native.cost_ratio) == (50.0, 1.0, 1.0)
    assert (other.rate, other.rate_ratio, other.cost, other.cost_ratio) == (40.0, 0.8, 5.0, 1.25)
    assert console.table([native, other]).splitlines()[-1].endswith("MISSED")


def test_a_rate_of_answers_that_are_no_good_ones_is_none() -> None:
    printed = "  30 requests in 3.0s, 1.2MB read\n{}Requests/sec:   10.50\n"
    assert console.answered(printed.format("")) == (30, 10.5)
    assert console.answered(printed.format("  Non-2xx or 3xx responses: 3\n")) == (0, 0.0)
    assert console.answered("unable to connect\n") == (0, 0.0)


def cells() -> list[hosts.Cell]:
    return [
        hosts.Cell("udocker auto", "free & easy", hosts.YES, "N1"),
        hosts.Cell("PRoot", "free & easy", hosts.PARTLY),
        hosts.Cell("udocker auto", "strict", hosts.NO, "N1"),
        hosts.Cell("PRoot", "strict", hosts.NO),
    ]


def test_the_matrix_has_a_row_for_each_program_and_a_column_for_each_host() -> None:
    assert hosts.table(cells()).splitlines() == [
        "| | free & easy | strict |",
        "|---|---|---|",
        "| udocker auto | yes (N1) | no |",
        "| PRoot | static | no |",
    ]


def test_the_matrix_is_drawn() -> None:
    root = ElementTree.fromstring(hosts.chart(cells()))
    texts = [node.text for node in root.iter() if node.tag.endswith("text")]
    assert texts[:2] == ["free & easy", "strict"]
    assert texts.count("no") == 2
    fills = [node.get("fill") for node in root.iter() if node.tag.endswith("rect")][1:]
    assert len(fills) == 4
    assert fills[1] == fills[3] != fills[0] != fills[2]
