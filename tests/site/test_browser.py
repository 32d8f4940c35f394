"""The report in a real browser: Debian's Chromium, headless, driven by playwright."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import TABLE, missing
from filled_store import Report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS = {"desktop": 1280, "phone": 390, "small phone": 320}

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        missing(f"there is no {CHROMIUM}")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which anything the browser complains of fails the test, as does a request that is not for a file."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    context.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url),
    )
    yield context.new_page()
    context.close()
    assert not complaints


def address(report: Report, name: str = "index.html") -> str:
    return f"{report.folder.resolve().as_uri()}/{name}"


def test_every_page_loads_without_a_complaint(page: Page, report: Report) -> None:
    for path in sorted(report.folder.rglob("*.html")):
        page.goto(address(report, path.relative_to(report.folder).as_posix()))
        assert page.locator("h1").count() == 1, path
        # The search has its index: the policy lets the site's own script in, also from a disk.
        assert page.evaluate("Array.isArray(SEARCH_INDEX) && !document.documentElement.classList.contains('no-js')")


def test_a_click_on_a_number_reaches_the_run_that_made_it(page: Page, report: Report) -> None:
    page.goto(address(report))
    page.get_by_role("link", name="Table 3").first.click()
    cell = report.book.table(TABLE).cell("hard", "b_224")
    page.locator("table.paper tr[id='row.hard'] td").nth(4).get_by_role("link").click()
    assert "/runs/deit-b-224_hard.html" in page.url
    assert page.locator("h1").inner_text() == "deit-b-224/hard"
    target = page.locator(":target")
    assert target.get_attribute("id") == cell.jobs[0]
    assert target.bounding_box()["y"] < 900  # type: ignore[index]
    assert page.locator("svg.curve polyline.loss").count() == 1


def test_sorting(page: Page, report: Report) -> None:
    page.goto(address(report, f"tables/{TABLE}.html"))
    table = page.locator("table.numbers")
    header = table.locator("th", has_text="paper")
    rows = table.locator("tbody tr")
    first = rows.first.inner_text()
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    column = [text for text in table.locator("tbody td:nth-child(3)").all_inner_texts() if text != "–"]
    assert [float(text) for text in column] == sorted(float(text) for text in column)
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    texts = table.locator("tbody td:nth-child(3)").all_inner_texts()
    assert texts[0] == "84.5"
    assert texts[-1] == "–"  # what has no value stays last
    table.locator("th", has_text=re.compile("^row")).get_by_role("button").click()
    assert rows.first.inner_text() == first
    assert table.locator("th[aria-sort]").count() == 1


def test_the_paper_layout_sorts_by_the_column_under_a_spanner(page: Page, report: Report) -> None:
    page.goto(address(report, f"tables/{TABLE}.html"))
    table = page.locator("table.paper")
    table.locator("thead th", has_text="S 224").get_by_role("button").click()
    column = table.locator("tbody td:nth-child(5)").all_inner_texts()
    numbers = [float(match[0]) for text in column if (match := re.match(r"\d+\.\d", text))]
    assert len(numbers) == 5
    assert numbers == sorted(numbers)


def test_search(page: Page, report: Report) -> None:
    page.goto(address(report, "checklist.html"))
    page.keyboard.press("/")
    page.keyboard.type("no such words")
    assert page.get_by_role("option").count() == 0
    assert "nothing found" in page.locator("#found").inner_text()
    page.locator("#search").fill("distil. embedding")
    options = page.get_by_role("option")
    assert options.count() >= 1
    assert "Table 3" in options.first.inner_text()
    page.locator("#search").fill("deit-b-224/token")
    page.keyboard.press("ArrowDown")
    assert options.first.get_attribute("aria-selected") == "true"
    page.keyboard.press("Escape")
    assert page.locator("#found").is_hidden()
    page.locator("#search").fill("deit-b-224/token")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/deit-b-224_token.html")


def test_the_claims_are_chosen_by_kind_and_words(page: Page, report: Report) -> None:
    """Kinds by style alone, so without scripts too; words over all sections together."""
    page.goto((report.folder / "claims.html").as_uri())

    def shown() -> dict[str, int]:
        return {kind: page.locator(f"tr.{kind}:visible").count() for kind in ("sentence", "reading")}

    every = shown()
    assert every["sentence"]
    assert every["reading"]
    page.locator("#only-readings").check()
    assert shown() == {"sentence": 0, "reading": every["reading"]}
    page.locator("#only-sentences").check()
    page.locator("#filter").fill("hard distillation")
    left = page.locator("tr.sentence:visible")
    assert 0 < left.count() < every["sentence"]
    assert all("hard" in text.lower() for text in left.all_inner_texts())


def test_the_filter_of_a_long_list(page: Page, report: Report) -> None:
    page.goto(address(report, "jobs.html"))
    page.locator("#filter").fill("failed")
    assert page.locator("#jobs tbody tr:visible").count() == 1
    assert report.left["failed"].key in page.locator("#jobs tbody tr:visible").inner_text()
    assert page.locator("[aria-live]").inner_text() == f"1 of {len(report.book.jobs)}"


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_scrolls_sideways(page: Page, report: Report, name: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": WIDTHS[name], "height": 844})
    for path in _kinds(report):
        page.goto(address(report, path))
        page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[name], path
        # A paragraph that cannot be read on its background would be a colour forgotten in one of the schemes.
        assert page.evaluate(CONTRAST) >= 4.5, path


def test_all_tables_and_figures_fit_a_phone(page: Page, whole: Report) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for folder in ("tables", "figures"):
        for path in sorted((whole.folder / folder).glob("*.html")):
            page.goto(path.resolve().as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
            for image in page.locator("img").all():
                assert image.evaluate("one => one.complete && one.naturalWidth > 0"), path


def test_the_keyboard_reaches_everything_in_order(page: Page, report: Report) -> None:
    page.goto(address(report))
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.inner_text() == "Skip to the content"
    assert skip.bounding_box()["x"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.className"))
        if seen[-1] == "sort":
            break
    assert seen[-1] == "sort"
    style = "getComputedStyle(document.activeElement)"
    assert page.evaluate(f"{style}.outlineStyle") == "solid"
    assert page.evaluate(f"parseFloat({style}.outlineWidth)") >= 2
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort='ascending']").count() == 1
    page.keyboard.press("Space")
    assert page.locator("th[aria-sort='descending']").count() == 1


def test_without_scripts_everything_but_sorting_and_search_is_there(browser: Browser, report: Report) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address(report))
    assert page.locator("#search").is_hidden()
    page.get_by_role("link", name="Table 3").first.click()
    page.locator("table.paper tbody td a").first.click()
    assert "/runs/" in page.url
    assert page.locator("svg.curve").first.is_visible()
    page.locator("summary", has_text="Environment").first.click()
    assert page.get_by_text("Some <b>processor</b>").first.is_visible()
    context.close()


def test_what_is_folded_is_printed(page: Page, report: Report) -> None:
    page.goto(address(report, "runs/deit-b-224_token.html"))
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.get_by_text("Some <b>processor</b>").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_every_control_has_a_name(page: Page, report: Report) -> None:
    for path in _kinds(report):
        page.goto(address(report, path))
        page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
        nameless = page.evaluate(
            "[...document.querySelectorAll('a, button, input, [role=region]')].filter(one => !("
            "one.innerText?.trim() || one.getAttribute('aria-label') || one.labels?.length || "
            "one.querySelector('img[alt]')"
            ")).map(one => one.outerHTML)"
        )
        assert nameless == [], path
        levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => Number(one.tagName[1]))")
        assert all(after - before <= 1 for before, after in pairwise(levels)), path


def _kinds(report: Report) -> list[str]:
    """One page of each kind."""
    found = ["index.html", "claims.html", "runs.html", "jobs.html", "checklist.html", f"tables/{TABLE}.html"]
    data = next(iter(report.book.addresses.data))
    return [*found, "runs/deit-b-224_token.html", "runs/deit-ti-224_soft.html", report.book.addresses.data_set(data)]


CONTRAST = """
(() => {
  const channel = value => { value /= 255; return value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4; };
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number);
    return .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (!/rgba\\(.*, 0\\)/.test(colour)) { return colour; }
    }
    return 'rgb(255, 255, 255)';
  };
  let least = 21;
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !element.getClientRects().length || element.closest('svg, script, style')) { continue; }
    const [one, other] = [light(getComputedStyle(element).color), light(behind(element))];
    least = Math.min(least, (Math.max(one, other) + .05) / (Math.min(one, other) + .05));
  }
  return least;
})()
"""
