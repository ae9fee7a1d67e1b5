"""The page in a real browser: it draws, answers mouse and keys, and says nothing to console or network."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_runs import HOSTILE, made_run
from result_factories import architecture
from test_training_page import LABELS, PROVENANCE, ROWS

from results.report.live import LiveServer, Watched
from results.report.page import page as written
from results.report.run_page import Beside, Now, run_document
from results.report.training_page import training_document

NAMES = ("chromium", "chromium-browser", "google-chrome")
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE = f"data:image/png;base64,{PIXEL}"
BESIDE = Beside(
    "runs/made",
    at_random=10,
    data={"layout": HOSTILE, "classes": [{"class": HOSTILE, "share": 0.75}, {"class": "road", "share": 0.25}]},
    samples=[
        {"name": HOSTILE, "image": PICTURE, "alt": HOSTILE},
        {"name": "x", "image": "https://x.example/", "alt": ""},
    ],
    predictions={
        "networks": [{"name": HOSTILE, "about": HOSTILE}],
        "rows": [{"name": HOSTILE, "images": [PICTURE] * 3}],
        "classes": [[HOSTILE, "#ff0000"]],
    },
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[browser]'")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A page, what it said to the console, and what it asked of the network."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.page = browser.new_context(**context).new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(f"dialog {dialog.message}") or dialog.dismiss())
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.address = address
        self.page.goto(address)
        self.page.wait_for_selector(".card svg")

    def quiet(self) -> bool:
        """Tell whether it said nothing, and asked for nothing but itself."""
        others = [url for url in self.asked if not url.startswith("data:") and url != self.address]
        assert (self.said, others) == ([], [])
        return True


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_bytes(written(run_document(made_run(), HOSTILE, BESIDE)))
    return path.as_uri()


WIDE, NARROW = {"width": 1200, "height": 900}, {"width": 390, "height": 800}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_it_fits_draws_and_keeps_to_itself(chromium: Any, file: str, size: dict[str, int], scheme: str) -> None:
    opened = Opened(chromium, file, viewport=size, color_scheme=scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    ticks = opened.page.locator("#front svg .tick").all_text_contents()
    assert sum(text.endswith(("M", "G", "k")) for text in ticks) >= 3 and sum(text.endswith("%") for text in ticks) >= 3
    assert opened.page.locator("#front .budget-label").all_text_contents() == ["budget 1.000 G"]
    boxes = [tick.bounding_box() for tick in opened.page.locator("#front svg .tick").all()]
    assert not [1 for i, a in enumerate(boxes) for b in boxes[:i] if overlap(a, b)], "ticks are written over each other"
    assert opened.page.locator("#predictions img").count() == 3
    assert opened.page.locator("#data img").count() == 1, "a picture elsewhere is not asked for"
    assert opened.quiet()


def overlap(a: dict[str, float], b: dict[str, float]) -> bool:
    return (
        a["x"] < b["x"] + b["width"]
        and b["x"] < a["x"] + a["width"]
        and a["y"] + 3 < b["y"] + b["height"]
        and b["y"] + 3 < a["y"] + a["height"]
    )


def test_names_are_shown_and_not_run(chromium: Any, file: str) -> None:
    opened = Opened(chromium, file, viewport=WIDE)
    assert opened.page.title() == f"Search {HOSTILE}"
    assert opened.page.locator("h1").inner_text() == f"Search {HOSTILE}"
    assert opened.page.locator("img[src=x]").count() == 0
    assert HOSTILE in opened.page.locator("#data").text_content()
    assert opened.quiet()


def test_a_point_is_read_pinned_and_compared(chromium: Any, file: str) -> None:
    page = Opened(chromium, file, viewport=WIDE).page
    while page.locator(".network").count():
        page.locator(".network .release").first.click()
    page.locator("#front .plot").scroll_into_view_if_needed()
    for wanted in (0, 1):
        box = page.locator("#front .member").nth(wanted).bounding_box()
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        assert page.locator(".tip").is_visible() and "parameters" in page.locator(".tip").inner_text()
        page.mouse.click(box["x"] + 5, box["y"] + 5)
    assert page.locator(".network").count() == 2 and page.locator("#front .ring").count() == 2
    second = page.locator(".network").nth(1)
    assert "of budget" in second.inner_text() and "points" in second.inner_text()
    assert second.locator(".stages > li").count() == 5 and second.locator("mark").count() > 0
    number = page.locator(".network h3").nth(1).inner_text().split("trial ")[1].split()[0]
    second.locator("summary", has_text="Commands").click()
    assert f"boostformer retrain runs/made --trial {number} --out net-{number}" in second.inner_text()
    page.locator("#front table .pin[aria-pressed=true]").first.click()
    assert page.locator(".network").count() == 1


def test_axes_and_series_are_chosen(chromium: Any, file: str) -> None:
    opened = Opened(chromium, file, viewport=WIDE)
    up, across = (opened.page.locator("#front select").nth(place) for place in (0, 1))
    across.select_option("latency_ms")
    assert opened.page.locator("#front .bar").count() > 0, "a latency has its band"
    assert any("ms" in text for text in opened.page.locator("#front .tick").all_text_contents())
    up.select_option("params")
    assert opened.page.locator("#front .budget").count() == 1
    before = opened.page.locator("#front .member").count()
    opened.page.locator("#front .legend button", has_text="front").click()
    assert before > 0 and opened.page.locator("#front .member").count() == 0
    assert opened.quiet()


def test_keys_suffice(chromium: Any, file: str) -> None:
    page = Opened(chromium, file, viewport=WIDE).page
    pinned = page.locator(".network").count()
    page.locator("#front .plot").focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#said").inner_text()
    page.keyboard.press("ArrowRight")
    assert first.startswith("trial ") and page.locator("#said").inner_text() != first
    page.keyboard.press("Enter")
    assert page.locator(".network").count() != pinned and page.locator("#said").inner_text().startswith("trial ")
    page.keyboard.press("Escape")
    assert not page.locator(".tip").is_visible()
    number = page.locator("#front .pin[aria-pressed=false]").first.get_attribute("data-pin")
    page.locator(f"#front .pin[data-pin='{number}']").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.dataset.pin") == number, "the place in the table is not lost"
    assert page.locator(f"#front .pin[data-pin='{number}']").get_attribute("aria-pressed") == "true"


def test_the_lineage_says_what_was_changed(chromium: Any, tmp_path: Path) -> None:
    run = made_run()
    heir = run.trials[60]
    file = tmp_path / "report.html"
    document = run_document(run, "x", Beside("x"))
    next(card for card in document["cards"] if card["kind"] == "front")["picks"] = [
        {"number": heir.number, "rules": []}
    ]
    file.write_bytes(written(document))
    page = Opened(chromium, file.as_uri(), viewport=WIDE).page
    page.locator(".network summary", has_text="Lineage: 2 trainings, 600 iterations").click()
    assert "→" in page.locator(".lineage").inner_text()


def test_colours_are_chosen(chromium: Any, file: str) -> None:
    page = Opened(chromium, file, viewport=WIDE, color_scheme="light").page
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert page.locator("html").get_attribute("data-theme") == "dark" and page.evaluate(ground) != light


def test_it_is_printed_without_what_is_pressed(chromium: Any, file: str) -> None:
    page = Opened(chromium, file, viewport=WIDE).page
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible() and not page.locator("#front select").first.is_visible()
    assert page.locator("#front svg").is_visible()
    page.set_viewport_size({"width": 720, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= 720, "it is no wider than the paper"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".network .commands").first.is_visible() and not page.locator("#setup pre").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.locator(".network .commands").first.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_running_search_is_followed(chromium: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = made_run(30), [30]
    loss = [(1, 2.0), (5, 1.5), (9, 1.25)]
    running = [{"number": run.trials[-2].number, "id": HOSTILE, "done": 9, "total": 20, "loss": loss}]

    def read() -> dict[str, Any]:
        return run_document(made_run(seen[0]), "run", BESIDE, Now(running, [HOSTILE]))

    watched = Watched(read, lambda: seen[0])
    monkeypatch.setattr("results.report.live._LOOK", 0.01)
    with LiveServer(watched) as server:
        threads = [threading.Thread(target=work) for work in (watched.follow, lambda: server.serve_forever(0.01))]
        for thread in threads:
            thread.start()
        try:
            opened = Opened(chromium, server.address, viewport=WIDE)
            opened.page.wait_for_selector("#live.on")
            assert opened.page.locator("#now svg .curve").count() == 1
            opened.page.locator("#front select").nth(1).select_option("params")
            seen[0] = 40
            opened.page.locator("#tiles dd", has_text="42").wait_for()
            assert opened.page.locator("#predictions img").count() == 3
            assert opened.page.locator("#front select").nth(1).input_value() == "params", "what was chosen stays"
            opened.asked.remove(server.address + "events")
            assert opened.quiet()
        finally:
            watched.close()
            server.shutdown()
            for thread in threads:
                thread.join(timeout=10)


@pytest.mark.parametrize("trials", [0, 1, 2])
def test_a_run_that_has_just_begun_is_drawn(chromium: Any, tmp_path: Path, trials: int) -> None:
    run = made_run(1)
    started = [trial for trial in made_run(2).trials if trial.is_finished][:trials]
    file = tmp_path / "report.html"
    file.write_bytes(written(run_document(replace(run, trials=started), "new", Beside("new"), None)))
    opened = Opened(chromium, file.as_uri(), viewport=WIDE)
    assert opened.page.locator("#front .member").count() <= trials
    assert opened.quiet()


def test_a_training_has_curves(chromium: Any, tmp_path: Path) -> None:
    pictures = [{"name": "samples.png", "image": PICTURE, "alt": "samples"}]
    known = (ROWS, architecture(), [*LABELS[:-1], HOSTILE], PROVENANCE, pictures)
    file = tmp_path / "report.html"
    file.write_bytes(written(training_document(HOSTILE, "net", "", *known)))
    opened = Opened(chromium, file.as_uri(), viewport=NARROW)
    assert opened.page.locator("#curves svg .curve").count() == 4
    assert opened.page.locator("#network .stages > li").count() == 5
    assert opened.page.locator("#pictures img").count() == 1
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    assert opened.quiet()
