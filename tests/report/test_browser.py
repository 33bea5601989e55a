"""Pages in a real browser: nothing fails, nothing is cut off, names are inert, values are shown."""

import shutil

import numpy as np
import pytest

import striate
from striate.report.map_page import MapPoints, map_html
from tests.conftest import QUICK as WITHOUT_REPORT
from tests.conftest import encoded, picture

QUICK = {**WITHOUT_REPORT, "report.write": True}

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
EVIL = "<img src=x onerror=hacked()>"
CONTRAST = """() => {
  const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).slice(0, 3).map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$|transparent/.test(c)) return c;
    }
    return "rgb(255, 255, 255)"; };
  const weak = [];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    if (e.closest("script, svg") || !e.checkVisibility()) continue;
    const a = light(getComputedStyle(e).color), b = light(ground(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push([e.tagName, e.textContent.slice(0, 30), ratio]);
  }
  return weak; }"""
"""Texts with less than WCAG's 4.5 : 1."""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine: apt install chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Open a file at a width: the page, whose errors and requests are collected."""
    pages = []

    def go(path, width=1000):
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.said, page.asked = [], []
        page.on("console", lambda m: page.said.append(m.text))
        page.on("pageerror", lambda e: page.said.append(str(e)))
        page.on("request", lambda r: page.asked.append(r.url))
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield go
    for page in pages:
        assert page.said == []
        assert not [u for u in page.asked if not u.startswith(("file:", "data:", "blob:"))]
        page.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of a training with an evil class name."""
    base = tmp_path_factory.mktemp("report")
    for name, colour in ((EVIL, (200, 40, 40)), ("a class with quite a long name", (40, 40, 200))):
        for split, count in (("train", 10), ("val", 4), ("test", 4)):
            folder = base / "data" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                seed = 1000 * len(name) + 10 * i + len(split)
                (folder / f"{i}.png").write_bytes(encoded(picture(colour, seed=seed, noise=60)))
    striate.train(base / "data", run=base / "run", **{**QUICK, "epochs": 3})
    return base / "run" / "report.html"


@pytest.mark.parametrize("width", [320, 375, 1200])
def test_a_report_fits_and_is_inert(visit, report, width):
    page = visit(report, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert EVIL in page.locator("#data ~ details table").first.inner_text()
    assert page.evaluate(CONTRAST) == []


def test_curves_show_their_values(visit, report):
    page = visit(report)
    chart = page.locator("figure.chart").first
    chart.scroll_into_view_if_needed()
    box = chart.locator("svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    told = chart.locator(".values").inner_text()
    assert told.startswith("epoch 2: training ")
    assert "validation" in told
    page.mouse.move(0, 0)


def test_on_paper(visit, report, tmp_path):
    page = visit(report)
    page.emulate_media(media="print")
    page.pdf(path=tmp_path / "r.pdf", format="A4")
    assert (tmp_path / "r.pdf").stat().st_size > 20_000
    assert not page.locator("nav").is_visible()


def test_a_map_answers_to_the_pointer(visit, tmp_path):
    rng = np.random.default_rng(0)
    places = rng.normal(size=(500, 2))
    kinds = [EVIL if x > 0 else "left" for x in places[:, 0]]
    points = MapPoints(
        places, [f"{i}.png" for i in range(500)], {"label": kinds, "half": ["a"] * 500},
        rng.integers(0, 255, (500, 28, 28, 3), dtype=np.uint8), np.arange(500),
    )  # fmt: skip
    path = tmp_path / "map.html"
    path.write_text(map_html(points, title="a map", notes=["a note"], version="1"))
    page = visit(path)
    for x in range(300, 450, 3):
        page.mouse.move(x, 450)
        if page.locator("#card dd").count():
            break
    told = page.locator("#card dd").all_inner_texts()
    assert told[-1].endswith(".png")
    assert told[0] in kinds
    assert page.locator("#card canvas").count() == 1
    page.locator("#kinds button").first.click()
    assert page.locator("#kinds button[aria-pressed=false]").count() == 1
    page.select_option("#by", "half")
    assert page.locator("#kinds button").count() == 1
    page.locator("#map").focus()
    before = page.evaluate("scale")
    page.keyboard.press("+")
    assert page.evaluate("scale") > before
    assert page.evaluate("typeof hacked") == "undefined"
    narrow = visit(path, 375)
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 375
    assert narrow.locator("#map").bounding_box()["height"] > 200
