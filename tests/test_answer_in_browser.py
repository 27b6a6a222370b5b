"""The page of one solution in a real browser: nothing fetched, no error, no scrolling sideways.

Playwright drives the browser of ``conftest.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Seen, contrast
from typer.testing import CliRunner

from gridproblems.cli.main import app

#: A long table of situations, a plan with a front, and the commands of a feeder.
RUNS = {
    "situations": "orpd --case ieee14 --situations outages:lines --algorithm hs --evals 100",
    "front": "reconfiguration --case case33bw --objectives p_loss_kw,switching_actions "
    "--algorithm nsga2 --evals 400",
    "feeder": "regulators --feeder village --algorithm hs --evals 40",
}
SCREENS = [(width, scheme) for width in (1300, 390) for scheme in ("light", "dark")]


@pytest.fixture(scope="module", params=RUNS)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp(request.param)
    run = ["solve", *RUNS[request.param].split(), "--seed", "1", "--quiet", "--out", str(parent)]
    done = CliRunner().invoke(app, run)
    assert done.exit_code == 0, done.output
    return Path(done.stdout.strip()) / "report.html"


@pytest.fixture(scope="module", params=SCREENS, ids=lambda screen: f"{screen[0]} {screen[1]}")
def seen(request: pytest.FixtureRequest, browser: Any, report: Path) -> Iterator[Seen]:
    width, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True
    )
    view = Seen(context.new_page())
    view.open(report)
    yield view
    context.close()


def test_nothing_is_fetched_and_nothing_goes_wrong(seen: Seen, report: Path) -> None:
    assert seen.complaints == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [report.as_uri()]


def test_nothing_scrolls_sideways_but_code(seen: Seen) -> None:
    wide = seen.page.evaluate(
        """[document.documentElement, ...document.querySelectorAll('.wide')]
            .filter(box => box.scrollWidth > box.clientWidth + 1).length"""
    )
    assert wide == 0
    outside = seen.page.evaluate(
        """[...document.querySelectorAll('body *')].filter(element => {
            const box = element.getBoundingClientRect();
            return !element.closest('pre') && box.width > 0
                && (box.left < 0 || box.right > document.documentElement.clientWidth + 1);
        }).map(element => element.outerHTML.slice(0, 80))"""
    )
    assert outside == []


def test_pictures_are_drawn_and_named(seen: Seen) -> None:
    pictures = seen.page.evaluate(
        "[...document.images].map(image => [image.alt, image.complete, image.naturalWidth])"
    )
    assert len(pictures) >= 3
    assert all(alt and complete and width > 100 for alt, complete, width in pictures)


def test_every_value_has_its_name(seen: Seen) -> None:
    """By the head of its table, or, where rows are cards, beside it."""
    heads = seen.page.locator("thead").first.is_visible()
    named = seen.page.evaluate(
        """[...document.querySelectorAll('td[data-name]')]
            .filter(cell => cell.dataset.name && cell.textContent).map(cell =>
                getComputedStyle(cell, '::before').content.includes(cell.dataset.name))"""
    )
    assert len(named) > 5
    assert heads != all(named)
    assert heads == (seen.page.viewport_size["width"] == 1300)


def test_text_can_be_told_from_paper(seen: Seen) -> None:
    """Contrast of at least 7 to 1."""

    colours = seen.page.evaluate(
        """() => {
            const probe = document.createElement('p');
            probe.style.background = 'Canvas';
            document.body.append(probe);
            const paper = getComputedStyle(probe).backgroundColor;
            probe.remove();
            return [paper, getComputedStyle(document.body).color];
        }"""
    )
    assert contrast(*colours) > 7
