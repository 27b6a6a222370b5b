"""What all tests share: a browser, and the rule that CI leaves nothing out.

With the environment variable ``CI`` set to ``true`` a skipped test is a failed one, so that a
machine without a browser or an optional package cannot pass by testing less. A test that cannot
run on a platform at all says so by a reason that begins with ``platform:``, and stays skipped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import pytest

IN_CI = os.environ.get("CI", "").lower() in ("true", "1")
IMPOSSIBLE = "platform:"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _not_left_out(report: Report) -> Report:
    """A skip turned into a failure, if this is CI and the reason names no platform."""
    if not IN_CI or not report.skipped or hasattr(report, "wasxfail"):
        return report
    longrepr: Any = report.longrepr
    reason = str(longrepr[2] if isinstance(longrepr, tuple) else longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(IMPOSSIBLE):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, which CI=true forbids: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _not_left_out((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _not_left_out((yield))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium or Chrome of the path, else the one of ``playwright install chromium``.

    Each call of ``browser.new_context()`` or ``browser.new_page()`` starts from an empty profile.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    with playwright.sync_playwright() as p:
        try:
            started = p.chromium.launch(executable_path=path, args=list(BROWSER_ARGUMENTS))
        except playwright.Error as error:
            where = path or "none of " + ", ".join(BROWSERS) + " is on the path"
            pytest.skip(f"no browser ({where}): {error.message.splitlines()[0]}")
        yield started
        started.close()
