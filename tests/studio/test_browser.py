"""The studio's pages in a real browser: with a mouse, by keyboard, on a phone, in the dark."""

import json
import re
import zipfile

import pytest

import striate
from striate.core.records import Step, to_json
from striate.labs.playground import Playground, Settings
from tests.conftest import QUICK, encoded, picture, write_colours
from tests.report.test_browser import CHROMIUM, CONTRAST, FLAGS
from tests.studio.runs import write_run
from tests.studio.server import TOKEN, studio, wait_for

EVIL = "<img src=x onerror=hacked()>"
NAMELESS = """() => [...document.querySelectorAll("button, a, input, select, summary, [role=img]")]
  .filter(e => e.checkVisibility() && !(e.textContent.trim() || e.getAttribute("aria-label")
    || e.labels?.length || e.title || e.alt)).map(e => e.outerHTML.slice(0, 100))"""
"""What a screen reader has no name for."""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine: apt install chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A studio with a trained run of evil names, one that is at work, a damaged one."""
    base = tmp_path_factory.mktemp("studio")
    write_colours(base / "data" / "colours")
    for split in ("train", "val", "test"):
        (base / "data" / "colours" / split / "red").rename(base / "data" / "colours" / split / EVIL)
    knobs = {**QUICK, "model": "lenet", "lr": 0.05, "optim.rule": "momentum", "epochs": 4}
    striate.train(base / "data" / "colours", run=base / "runs" / f"2-{EVIL}", **knobs)
    write_run(base / "runs" / "1-at-work", steps=30, findings=("overfitting",))
    broken = write_run(base / "runs" / "0-broken")
    (broken / "records.jsonl").write_text('{"kind": "none"}\n')
    with studio(home=base / "runs", data=base / "data") as found:
        found.home = base / "runs"
        found.ids = {row["name"]: row["id"] for row in found.get("/api/runs")}
        yield found


@pytest.fixture
def visit(browser, served):
    """Open an address at a width: the page, whose errors and requests are collected."""
    contexts = []

    def go(path, width=1200, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        page.said, page.asked = [], []
        page.on("console", lambda m: page.said.append(m.text))
        page.on("pageerror", lambda e: page.said.append(str(e)))
        page.on("request", lambda r: page.asked.append(r.url))
        page.goto(f"{served.url}/?token={TOKEN}")
        page.goto(served.url + path)
        page.wait_for_selector("h1")
        contexts.append((context, page))
        return page

    yield go
    for context, page in contexts:
        assert page.said == []
        own = (served.url, "data:", "blob:")
        assert not [u for u in page.asked if not u.startswith(own)]
        assert page.evaluate("typeof hacked") == "undefined"
        context.close()


def paths(served):
    run = served.ids[f"2-{EVIL}"]
    return {
        "runs": "/", "train": "/train", "run": f"/run/{run}", "watch": f"/watch/{run}",
        "data": f"/data/{run}", "draw": f"/draw/{run}", "playground": "/playground",
        "descend": "/descend", "graph": "/graph", "convolution": "/convolution",
        "damaged": f"/run/{served.ids['0-broken']}",
    }  # fmt: skip


PAGES = ("runs", "train", "run", "watch", "data", "draw", "playground", "descend", "graph",
         "convolution", "damaged")  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1200, "dark")])
def test_pages_fit_and_can_be_read(visit, served, name, width, scheme):
    page = visit(paths(served)[name], width, scheme)
    page.wait_for_load_state("networkidle") if name not in ("playground",) else None
    page.wait_for_timeout(600)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(NAMELESS) == []
    assert page.locator("main").count() == 1
    assert page.locator("h1").count() == 1


def test_the_table_is_live(visit, served):
    page = visit("/")
    rows = page.locator("table.runs tbody tr")
    rows.nth(2).wait_for()
    assert rows.count() == 3
    assert EVIL in rows.nth(0).inner_text()
    assert "damaged" in rows.nth(2).inner_text()
    row = rows.nth(1)
    assert "3/10" in row.inner_text()
    with (served.home / "1-at-work" / "records.jsonl").open("a") as log:
        for n in range(31, 36):
            log.write(to_json(Step(n, 3, 0.4, 0.1, 1.0, 10.0)) + "\n")
        log.write(
            '{"kind": "epoch", "epoch": 4, "step": 40, "train_loss": 0.3, "val_loss": 0.4, '
            '"val_score": 0.95, "seconds": 1.0, "best": true}\n'
        )
    row.get_by_text("4/10").wait_for(timeout=5000)
    assert "0.9500" in row.inner_text()
    page.get_by_role("searchbox").fill("at-work")
    assert rows.count() == 1


def test_runs_are_compared(visit):
    page = visit("/")
    for number in range(2):
        page.get_by_role("checkbox").nth(number).check()
    page.get_by_text("What differs").wait_for()
    page.locator(".uplot canvas").nth(2).wait_for()
    assert page.locator(".uplot canvas").count() == 3


def test_a_run_shows_curves_findings_and_branches(visit, served):
    page = visit(f"/run/{served.ids['1-at-work']}")
    page.locator(".uplot").nth(3).wait_for()
    assert "overfitting it is" in page.locator("article.card").inner_text()
    assert page.get_by_role("button", name="Try it").count() == 1
    charts = page.locator("[role=img][aria-label*='Last values']")
    assert "each step" in charts.first.get_attribute("aria-label")


def test_it_sees(visit, served):
    page = visit(f"/watch/{served.ids[f'2-{EVIL}']}")
    page.locator(".strip .seen").nth(11).wait_for()
    page.locator(".units .unit").nth(2).click()
    page.get_by_text("What excites unit").wait_for()
    page.locator("img[alt*='nine strongest']").wait_for()
    page.locator(".strip .seen").nth(5).click()
    page.locator("select").first.select_option(index=1)
    page.locator(".units img").wait_for()
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


def test_data_is_looked_at_by_mouse_and_keyboard(visit, served):
    page = visit(f"/data/{served.ids[f'2-{EVIL}']}")
    page.get_by_text("60 images").wait_for()
    page.locator(".grid .canvas").click(position={"x": 60, "y": 10})
    page.get_by_text("Labelled").wait_for()
    assert page.get_by_text("finds most alike").count() == 1
    page.get_by_role("button", name="Mark as doubtful").click()
    page.get_by_text("1 images are marked").wait_for()
    assert len(list(served.home.glob("doubtful-*.csv"))) == 1
    page.get_by_role("button", name="Not doubtful after all").click()
    page.keyboard.press("Escape")
    grid = page.locator(".grid")
    grid.focus()
    for key in ("End", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    page.get_by_text("Labelled").wait_for()
    page.get_by_label("class").select_option(EVIL)
    page.get_by_text("20 images").wait_for()
    page.get_by_label("answered").select_option("wrong")
    page.get_by_text(re.compile(r"^\d+ images\.")).wait_for()


def test_a_lasso_leads_into_the_grid(visit, served):
    page = visit(f"/data/{served.ids[f'2-{EVIL}']}")
    page.get_by_role("button", name="Map").click()
    box = page.locator(".scatter canvas").bounding_box(timeout=60_000)
    x, y, w, h = (box[k] for k in ("x", "y", "width", "height"))
    page.mouse.move(x + 2, y + 2)
    page.mouse.down()
    for dx, dy in ((w - 2, 2), (w - 2, h - 2), (2, h - 2), (2, 3)):
        page.mouse.move(x + dx, y + dy, steps=4)
    page.mouse.up()
    page.get_by_text("60 images of the map.").wait_for()
    page.locator(".thumbs button").first.click()
    page.get_by_text("Labelled").wait_for()


def test_a_drawing_is_answered(visit, served):
    page = visit(f"/draw/{served.ids[f'2-{EVIL}']}")
    box = page.locator("canvas.paper").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 200, steps=8)
    page.mouse.up()
    page.locator(".bars li").nth(2).wait_for()
    page.set_input_files("input[type=file]", {
        "name": "red.png", "mimeType": "image/png", "buffer": encoded(picture((200, 50, 40))),
    })  # fmt: skip
    page.locator(".bars li").first.filter(has_text=EVIL).wait_for()
    page.set_input_files("input[type=file]", {
        "name": "no.png", "mimeType": "image/png", "buffer": b"nothing",
    })  # fmt: skip
    page.locator("[role=alert]").filter(has_text="no image").wait_for()
    page.said.clear()  # the browser notes the refusal


def test_the_playground_trains_as_python_does(visit):
    """The address holds the state, and the weights are those of the Python API."""
    page = visit("/playground?data=moons&layers=3&seed=5&lr=0.05")
    page.locator(".plane").wait_for()
    for _ in range(3):
        page.get_by_role("button", name="Step", exact=True).click()
    page.get_by_text("update 3").wait_for()
    game = Playground(Settings(data="moons", layers=(3,), seed=5, lr=0.05))
    game.advance(3)
    titles = page.locator("path.weight title").all_text_contents()
    shown = [float(t.rpartition(": ")[2]) for t in titles]
    own = [w for layer in game.linears() for row in layer.weight.tolist() for w in row]
    assert shown == [pytest.approx(w, rel=1e-2) for w in own]
    page.get_by_role("combobox", name="points", exact=True).select_option("xor")
    assert "data=xor" in page.url
    page.get_by_role("button", name="One layer more").click()
    assert "layers=3%2C2" in page.url
    page.get_by_role("button", name="Play", exact=True).click()
    count = page.locator(".count b").last
    wait_for(lambda: int(count.inner_text().replace(",", "")) > 50)
    page.get_by_role("button", name="Pause").click()
    page.reload()
    page.get_by_text("2 hidden layers").wait_for()
    assert page.get_by_role("combobox", name="points", exact=True).input_value() == "xor"


def test_a_weight_is_edited_and_points_are_painted(visit):
    page = visit("/playground")
    page.locator(".node").last.click()
    field = page.get_by_label(re.compile("bias of output"))
    field.fill("2.5")
    field.press("Enter")
    wait_for(lambda: field.input_value() == "2.5")
    page.locator(".plane canvas").last.click(position={"x": 40, "y": 50})
    page.get_by_role("button", name="paint orange").click()
    page.locator(".plane canvas").last.click(position={"x": 200, "y": 150})
    assert "data=painted" in page.url
    assert page.url.count("%3B") == 1
    page.get_by_role("button", name="Clear points").click()


def test_the_doctor_watches_the_playground(visit):
    page = visit("/playground")
    page.get_by_label("examples").select_option("too fast")
    page.get_by_label("speed").select_option("500")
    page.get_by_role("button", name="Play", exact=True).click()
    page.get_by_text(re.compile("learning rate too high|exploding gradient")).first.wait_for()


def test_descent_says_where_it_diverges(visit):
    page = visit("/descend")
    page.get_by_role("button", name="rate 0.001, momentum 0.9").click()
    page.get_by_role("row", name=re.compile("momentum .* (arrives|not there)")).wait_for()
    slider = page.get_by_label(re.compile("learning rate"))
    slider.focus()
    page.keyboard.press("End")
    page.get_by_text(re.compile("diverges: out of all bounds at step")).wait_for()
    assert "rate=1" in page.url


def test_the_graph_is_that_of_the_lecture(visit):
    page = visit("/graph")
    page.get_by_role("row", name="f → z 1 3 3").wait_for()
    page.get_by_role("row", name="q1 → x -4 1 -4").wait_for()
    page.get_by_label("expression").fill("x / 0")
    page.locator("[role=alert]").wait_for()
    page.said.clear()


def test_a_convolution_is_worked_out(visit):
    page = visit("/convolution")
    page.get_by_text("(20 + 2·0 − 1·(3 − 1) − 1) / 1⌋ + 1 = 18").wait_for()
    page.get_by_label(re.compile("stride")).fill("2")
    page.get_by_text("= 9").first.wait_for()
    page.get_by_role("button", name="Next place").click()
    page.get_by_text("place 2 of 81").wait_for()


def test_everything_is_reached_by_keyboard(visit):
    page = visit("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.textContent || document.activeElement.type"))
    assert {"Runs", "Train", "Playground", "Descend", "Graph", "Convolution", "checkbox"} <= seen
    page.get_by_role("link", name="Playground").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".playground")


@pytest.mark.slow
def test_a_training_is_started_from_the_page(visit, served):
    page = visit("/train")
    page.get_by_role("radio", name=re.compile("colours")).check()
    page.get_by_label("budget.epochs").first.fill("1")
    page.get_by_label("model.name").first.fill("lenet")
    page.get_by_label("optim.lr").first.fill("-3")
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator("[role=alert]").filter(has_text="optim.lr").wait_for()
    page.said.clear()
    page.get_by_label("optim.lr").first.fill("0.05")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_selector("table.runs")
    page.get_by_text("finished").nth(1).wait_for(timeout=90_000)
    names = {row["name"] for row in json.loads(served.ask("/api/runs")[2])}
    assert len(names) == 4


@pytest.mark.slow
def test_a_folder_is_dropped_as_an_archive(visit, served, tmp_path):
    """The page packs it; what arrives is an archive that Python's zipfile reads, and a training."""
    page = visit("/train")
    folder = served.home.parent / "data" / "colours"
    files = sorted(p for p in folder.rglob("*.png") if p.parts[-3] == "train")
    given = [[f"é dropped/{p.parent.name}/{p.name}", [*p.read_bytes()]] for p in files]
    page.evaluate(
        """files => {
          const entry = (name, inside) => ({ name, isFile: false, isDirectory: true,
            createReader() {
              let told = false;
              return { readEntries: done => { done(told ? [] : inside); told = true; } }; } });
          const file = (name, bytes) => ({ name, isFile: true, isDirectory: false,
            file: done => done(new File([new Uint8Array(bytes)], name)) });
          const tree = {};
          for (const [path, bytes] of files) {
            const [root, group, name] = path.split("/");
            ((tree[root] ??= {})[group] ??= []).push(file(name, bytes));
          }
          const [[root, groups]] = Object.entries(tree);
          const whole = entry(root, Object.entries(groups).map(([g, inside]) => entry(g, inside)));
          const event = new Event("drop", { bubbles: true, cancelable: true });
          event.dataTransfer = { items: [{ webkitGetAsEntry: () => whole }] };
          document.querySelector(".drop").dispatchEvent(event); }""",
        given,
    )
    page.get_by_text("is here").wait_for()
    archive = served.home.parent / "data" / "é dropped.zip"
    with zipfile.ZipFile(archive) as packed:
        assert packed.testzip() is None
        assert sorted(packed.namelist()) == sorted(path for path, _ in given)
    page.get_by_role("radio", name=re.compile("dropped.zip")).check()
    page.get_by_role("button", name="Check the data").click()
    page.locator("ul.card[role=status]").wait_for()
