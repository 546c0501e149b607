"""The page in a real browser: light and dark, wide and as narrow as a phone, with its filters."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paperworks.report import Entry, render

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs Debian's chromium and chromium-driver",
    ),
]


@pytest.fixture
def browser(entries: list[Entry], tmp_path: Path) -> Iterator[Any]:
    page = tmp_path / "report.html"
    page.write_text(render(entries))
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))
    )
    driver.get(page.as_uri())
    yield driver
    driver.quit()


def resize(browser: Any, width: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )


def shown(browser: Any) -> list[str]:
    """The claims whose rows can be seen; their sections must agree."""
    rows = browser.execute_script(
        "return [...document.querySelectorAll('tr.entry')]"
        ".filter(e => e.offsetParent).map(e => e.querySelector('a').textContent)"
    )
    sections = browser.execute_script(
        "return [...document.querySelectorAll('section.entry')].filter(e => e.offsetParent).length"
    )
    assert sections == len(rows)
    return rows


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(browser: Any, width: int, scheme: str) -> None:
    resize(browser, width)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    ink, page = browser.execute_script(
        "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    )
    assert contrast(ink, page) >= 7
    badges = browser.execute_script(
        "return [...document.querySelectorAll('.badge')].map(e => getComputedStyle(e).color)"
    )
    assert all(contrast(color, page) >= 4.5 for color in badges)
    svg_text = browser.execute_script(
        "return getComputedStyle(document.querySelector('svg text')).fill"
    )
    assert contrast(svg_text, page) >= 7


def test_the_filters_work_together_and_nothing_is_asked_or_logged(browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    every = ["lion-k/cheap", "presto/dear <&>", "deis/broken", "deis/later"]
    assert shown(browser) == every
    text = browser.find_element(By.ID, "text")
    text.send_keys("optimistic LION constrained")
    assert shown(browser) == []
    assert browser.find_element(By.ID, "none").is_displayed()
    text.clear()
    text.send_keys("LION constrained")
    assert shown(browser) == ["lion-k/cheap"]
    text.clear()
    text.send_keys(" ")
    Select(browser.find_element(By.ID, "verdict")).select_by_visible_text("inconclusive")
    assert shown(browser) == ["deis/broken"]
    Select(browser.find_element(By.ID, "family")).select_by_visible_text("statistics")
    assert shown(browser) == []
    Select(browser.find_element(By.ID, "verdict")).select_by_visible_text("all verdicts")
    assert shown(browser) == ["presto/dear <&>"]
    assert browser.get_log("browser") == []
    asked = [
        entry["message"]
        for entry in browser.get_log("performance")
        if "requestWillBeSent" in entry["message"] and '"http' in entry["message"]
    ]
    assert asked == []


def contrast(one: str, other: str) -> float:
    """The WCAG contrast ratio of two CSS ``rgb(r, g, b)`` colours."""

    def luminance(color: str) -> float:
        channels = [float(c) / 255 for c in color[color.index("(") + 1 : -1].split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
