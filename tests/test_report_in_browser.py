"""The report in a real browser, as a reader sees it: charts drawn, nothing fetched, no error.

Playwright drives the browser of ``conftest.py``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Seen, contrast
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.problems import get_problem

from gridproblems.study import Results, Study
from gridproblems.study.report import write_report

NASTY = '<img src=x onerror=alert(1)> & "quotes" </script> $x_1$ <b>bold</b>'
SWITCHING = "reconfiguration:case33bw?objectives=p_loss_kw,switching_actions"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three kinds of problems: a net, two objectives on a net, and one that is no grid."""
    made = Study(
        tmp_path_factory.mktemp("study") / "s.db",
        {
            "ieee14": "orpd:ieee14",
            "33 buses": SWITCHING,
            NASTY: lambda: get_problem("zdt1", n_var=4),
        },
        {"hs": "hs", NASTY: lambda problem, n_evals: NSGA2(pop_size=20)},
        seeds=4,
        n_evals=150,
    )
    made.run(progress=False)
    return made


@pytest.fixture(scope="module")
def report(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study.report(tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module", params=["desk", "phone in the dark"])
def seen(request: pytest.FixtureRequest, browser: Any, report: Path) -> Iterator[Seen]:
    phone = request.param != "desk"
    context = browser.new_context(
        viewport={"width": 390, "height": 844} if phone else {"width": 1200, "height": 900},
        color_scheme="dark" if phone else "light",
        offline=True,
    )
    view = Seen(context.new_page())
    view.open(report, drawn=True)
    yield view
    context.close()


def test_nothing_is_fetched_and_nothing_goes_wrong(seen: Seen, report: Path) -> None:
    assert seen.complaints == []
    others = [url for url in seen.requests if not url.startswith(("data:", "blob:"))]
    assert others == [report.as_uri()]


def test_every_chart_is_drawn(seen: Seen) -> None:
    charts = seen.page.locator(".chart")
    # ranking, targets, gaps; 4 of a single objective with grid; 6 with front; 5 without a grid
    assert charts.count() == 3 + 4 + 6 + 5
    assert seen.page.get_attribute("body", "data-drawn") == str(charts.count())
    for i in range(charts.count()):
        chart = charts.nth(i)
        marks = chart.locator(
            ".scatterlayer .point, .scatterlayer .js-line, .boxlayer path.box"
        ).count()
        assert marks > 0, chart.get_attribute("id")
        box = chart.locator(".main-svg").first.bounding_box()
        assert box["height"] > 100, chart.get_attribute("id")


def test_marks_are_where_the_axes_say(seen: Seen) -> None:
    """The middle of each dot of the ranking, back through its axis, is the mean rank."""
    places = seen.page.evaluate(
        """() => {
            const chart = document.getElementById('chart-ranking');
            const axis = chart._fullLayout.xaxis;
            const left = chart.querySelector('.bglayer, .plotbg, .gridlayer');
            return Array.from(chart.querySelectorAll('.scatterlayer .trace')).map((trace, i) => {
                const dot = trace.querySelector('.point').getBoundingClientRect();
                const frame = chart.getBoundingClientRect();
                const pixel = dot.left + dot.width / 2 - frame.left - axis._offset;
                return [axis.p2d(pixel), chart.data[i].x[0]];
            });
        }"""
    )
    assert len(places) == 2
    for drawn, wanted in places:
        assert drawn == pytest.approx(wanted, abs=0.02)


def test_the_page_fits_its_width(seen: Seen) -> None:
    widths = seen.page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert widths[0] <= widths[1]
    size = seen.page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)")
    assert size >= 16
    for chart in seen.page.locator(".chart").all():
        box = chart.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= widths[1]


def test_tables_fit_too(seen: Seen) -> None:
    """No table scrolls sideways; the long ones of settings may on a phone."""
    wide = seen.page.evaluate(
        """[...document.querySelectorAll('.scroll:not(.tall)')]
            .filter(table => table.scrollWidth > table.clientWidth + 1).length"""
    )
    assert wide == 0


def test_the_file_is_small(report: Path) -> None:
    assert report.stat().st_size < 2e6


def test_text_can_be_told_from_paper(seen: Seen) -> None:
    """Contrast of at least 7 to 1 for text, and of 3 to 1 for the text in charts."""

    colours = seen.page.evaluate(
        """() => {
            const body = getComputedStyle(document.body);
            const label = document.querySelector('#chart-ranking .xtick text');
            return [body.backgroundColor, body.color, getComputedStyle(label).fill];
        }"""
    )
    paper, ink, label = colours
    assert contrast(paper, ink) > 7
    assert contrast(paper, label) > 3


def test_names_are_shown_as_they_are(seen: Seen) -> None:
    text = seen.page.inner_text("main")
    assert NASTY in text
    assert seen.page.locator("main img[src=x]").count() == 0
    assert seen.page.locator("main b", has_text="bold").count() == 0
    assert NASTY in seen.page.locator("#chart-ranking .ytick text").all_text_contents()


def test_hovering_a_front_shows_the_settings(seen: Seen) -> None:
    chart = seen.page.locator("#chart-2-front")
    chart.scroll_into_view_if_needed()
    texts = seen.page.evaluate(
        "document.getElementById('chart-2-front').data.flatMap(trace => trace.text)"
    )
    assert any("close line" in text and "open line" in text for text in texts)
    seen.page.evaluate(
        """() => {
            const chart = document.getElementById('chart-2-front');
            const trace = chart.data.findIndex(t => t.text.some(s => s.includes('open line')));
            const point = chart.data[trace].text.findIndex(s => s.includes('open line'));
            Plotly.Fx.hover(chart, [{ curveNumber: trace, pointNumber: point }]);
        }"""
    )
    assert "open line" in chart.locator(".hoverlayer").text_content()


def test_the_grid_shows_what_is_open(seen: Seen) -> None:
    chart = seen.page.locator("#chart-2-network")
    texts = seen.page.evaluate(
        "document.getElementById('chart-2-network').data.flatMap(trace => trace.text || [])"
    )
    assert sum(text.endswith(": open") for text in texts) == 5
    assert sum(text.startswith("bus ") for text in texts) == 33
    assert chart.locator(".scatterlayer .trace").count() >= 4


def test_the_verdict_comes_first_in_two_sentences(seen: Seen) -> None:
    verdict = seen.page.inner_text("#verdict")
    assert "mean rank" in verdict
    assert "On ieee14 the median run of" in verdict
    first = seen.page.locator("main > h1 + p").get_attribute("id")
    assert first == "verdict"


def test_colours_follow_the_scheme_when_it_changes(browser: Any, report: Path) -> None:
    context = browser.new_context(color_scheme="light")
    view = Seen(context.new_page())
    view.open(report, drawn=True)
    fill = "getComputedStyle(document.querySelector('#chart-ranking .xtick text')).fill"
    light = view.page.evaluate(fill)
    view.page.emulate_media(color_scheme="dark")
    end = time.monotonic() + 20
    while view.page.evaluate(fill) == light and time.monotonic() < end:
        time.sleep(0.05)
    assert view.page.evaluate(fill) != light
    assert view.complaints == []
    context.close()


def test_no_script_but_the_pages_own_runs(browser: Any, report: Path, tmp_path: Path) -> None:
    """Scripts and handlers that somebody got into the page are refused, and the charts drawn."""
    foreign = (
        "<script>document.title = 'foreign'</script>"
        "<img src='data:,' onerror=\"document.title = 'foreign'\">"
        "<a id='link' href=\"javascript:document.title = 'foreign'\">x</a>"
    )
    path = tmp_path / "attacked.html"
    path.write_text(report.read_text().replace("<main>", f"<main>{foreign}", 1))
    view = Seen(browser.new_page())
    view.open(path, drawn=True)
    view.page.click("#link")
    assert view.page.title() != "foreign"
    # the foreign one, two that hold data, the page's own, and the library that this one unpacks
    assert view.page.evaluate("document.querySelectorAll('script').length") == 5
    refused = [text for text in view.complaints if "Content Security Policy" in text]
    assert len(refused) >= 2
    view.page.close()


def test_a_study_that_has_only_begun_can_be_shown(
    browser: Any, study: Study, tmp_path: Path
) -> None:
    """One algorithm, one run, nothing described: fewer charts, no error."""
    one = Results(study.path, keys=[next(iter(study.jobs))])
    path = write_report(one, tmp_path / "begun.html")
    view = Seen(browser.new_page())
    view.open(path, drawn=True)
    assert view.complaints == []
    assert "only one algorithm was run" in view.page.inner_text("#verdict")
    view.page.close()
