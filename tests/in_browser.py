"""The course as a learner sees it, in a real browser: `make test-browser`.

JupyterLab is started as `make lab` does, on a copy of the course, and driven in a headless Chromium of the system.
Screenshots go into tests/screenshots/, which git ignores; LAB_SCREENSHOTS names another folder. `make pictures` takes
those of the README again.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from homes import NOTEBOOKS, home_of_its_own
from kernel import Kernel
from playwright.sync_api import Locator, Page, expect, sync_playwright

COURSE = NOTEBOOKS.parent
LESSONS = sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
SCREENSHOTS = Path(os.environ.get("LAB_SCREENSHOTS") or COURSE / "tests" / "screenshots")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# It is root in a container, and shall call nobody.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
OPEN = ".jp-NotebookPanel:not(.lm-mod-hidden)"  # the notebook that is in front
RUN_ALL = 300_000  # milliseconds until a lesson has run from top to bottom on a busy machine
# What a lesson itself writes and draws. The rest of the page is JupyterLab's.
OURS = [[".jp-RenderedMarkdown"], [".jp-OutputArea-output"]]
# The pictures in the README: a lesson as it is stored, and the cell whose output ends the picture.
IN_THE_README = {"lesson": ("03_upgrade", "here.revisions()", 1), "traffic": ("15_locks", "queued.above(retried)", 0)}


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """A copy of the course, so that what is run here is not saved into the notebooks."""
    copy = tmp_path_factory.mktemp("browser") / "course"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in filter(None, subprocess.check_output(listed, cwd=COURSE, text=True).split("\0")):
        if (COURSE / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(COURSE / name, copy / name)
    return copy


@pytest.fixture(scope="session")
def jupyter(course):
    """JupyterLab on the copy, with nobody's settings; the address that it prints."""
    folders = {f"JUPYTER_{kind}_DIR": str(course.parent / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    variables = {name: value for name, value in os.environ.items() if name != "LAB_HOME"}
    variables |= folders | {"LAB_DATABASE": "embedded", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "jupyterlab", "notebooks", "--config=jupyter/lab_config.py", "--no-browser"]
    log = course.parent / "jupyter.log"
    with open(log, "w") as file:
        server = subprocess.Popen([*command, "--port=0"], cwd=course, env=variables, stdout=file, stderr=file)
    try:
        yield wait_for(r"http://127\.0\.0\.1:\d+/lab\S*token=\w+", log)
    finally:
        server.terminate()
        server.wait()
        clean = [sys.executable, "-m", "lab", "clean", "--yes"]
        subprocess.run(clean, cwd=course / "notebooks", env=variables, check=True, capture_output=True)


def wait_for(pattern: str, log: Path) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := re.search(pattern, log.read_text()):
            return found[0]
        time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="session")
def browser():
    assert CHROMIUM, "Install Chromium from the system's packages."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, jupyter, course):
    """JupyterLab as it greets a learner who opens the printed address; a test that fails shows its log, too."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{jupyter}&reset")  # the tabs and panels of the test before are forgotten
    page.locator(f"{OPEN} .jp-Cell").first.wait_for(timeout=120_000)
    yield page
    print(*page.locator(".jp-Dialog").all_inner_texts(), (course.parent / "jupyter.log").read_text()[-3000:], sep="\n")
    page.close()


def open_lesson(page: Page, name: str) -> None:
    """Double-click a lesson in the file browser, and wait for its kernel."""
    page.locator(".jp-DirListing-item", has_text=f"{name}.ipynb").dblclick()
    expect(page.locator(".lm-TabBar-tab.jp-mod-current", has_text=f"{name}.ipynb")).to_be_visible()
    expect(page.locator(f"{OPEN} h1").first).to_be_visible(timeout=60_000)
    wait_until_idle(page)


def menu(page: Page, name: str, entry: str) -> None:
    page.get_by_role("menuitem", name=name, exact=True).click()
    page.get_by_role("menuitem", name=re.compile(f"^{entry}")).first.click()


def run_all(page: Page) -> None:
    menu(page, "Run", "Run All Cells")
    page.wait_for_function("open => document.querySelector(open).innerText.includes('[*]')", arg=OPEN)
    wait_until_idle(page)


def wait_until_idle(page: Page) -> None:
    """No cell waits or runs: JupyterLab shows the last ones while it runs them all.

    The notebook's own indicator says idle before there is a kernel, too; the status bar does not.
    """
    page.wait_for_function(
        """open => !document.querySelector(open).innerText.includes('[*]')
                && document.querySelector(open + ' .jp-Notebook-ExecutionIndicator').dataset.status === 'idle'
                && document.querySelector('#jp-main-statusbar').innerText.includes('| Idle')""",
        arg=OPEN,
        timeout=RUN_ALL,
    )


def save(page: Page, notebook: Path) -> nbformat.NotebookNode:
    """Save the notebook in front; what is on the disk then."""
    before = notebook.stat().st_mtime_ns
    page.keyboard.press("Control+s")
    deadline = time.monotonic() + 30
    while notebook.stat().st_mtime_ns == before and time.monotonic() < deadline:
        time.sleep(0.1)
    expect(page.locator(".lm-TabBar-tab.jp-mod-current.jp-mod-dirty")).to_have_count(0)  # and written to its end
    return nbformat.read(notebook, 4)


def scroll_through(page: Page) -> None:
    """Look at the whole notebook: JupyterLab draws what comes into view."""
    page.evaluate(
        """async open => {
            const panel = document.querySelector(open + ' .jp-WindowedPanel-outer');
            for (let y = 0; y <= panel.scrollHeight; y += panel.clientHeight / 2) {
                panel.scrollTop = y;
                await new Promise(done => setTimeout(done, 200));
            }
            panel.scrollTop = 0;
        }""",
        OPEN,
    )


def bring_into_view(page: Page, picture: Locator) -> None:
    """Scroll until a picture is drawn and stands still: drawing what comes into view moves what is below."""
    whole = "one => one.getBoundingClientRect().top >= 0 && one.getBoundingClientRect().bottom <= innerHeight"
    for _ in range(10):
        if not picture.count():
            scroll_through(page)
            continue
        picture.evaluate("one => one.scrollIntoView({block: 'end'})")
        page.wait_for_timeout(1000)
        if picture.evaluate(whole):
            return
    raise AssertionError("the picture does not come into view")


def run_cell(page: Page, source: str) -> str:
    """Click into the first cell that holds `source` and press Shift+Enter; what the cell shows then."""
    cell = page.locator(f"{OPEN} .jp-CodeCell").filter(has=page.locator(".cm-content", has_text=source)).first
    # A kernel that has not begun with the cell is idle, too: wait for the number that is written once the cell has run.
    prompt = cell.locator(".jp-InputPrompt")
    for _ in range(3):
        cell.locator(".cm-content").click()
        prompt.evaluate("one => one.textContent = ''")
        page.keyboard.press("Shift+Enter")
        expect(prompt).to_have_text(re.compile(r"^\[( |\d+)\]:$"), timeout=RUN_ALL)
        wait_until_idle(page)
        if prompt.inner_text() != "[ ]:":
            return cell.locator(".jp-OutputArea").inner_text()
        # JupyterLab takes a cell back when its kernel restarts meanwhile. A learner presses again, too.
    raise AssertionError(f"JupyterLab does not run this cell: {source}")


def shot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def violations(page: Page, include: list | None = None, **rules: bool) -> list[str]:
    """What axe finds in the page, or in the parts to `include`; `rules` that are False are left out."""
    options = {"rules": {name.replace("_", "-"): {"enabled": on} for name, on in rules.items()}}
    found = Axe().run(page, context={"include": include} if include else None, options=options)
    return [f"{v['id']}: {n['html']}\n{n['failureSummary']}" for v in found.response["violations"] for n in v["nodes"]]


def of_a_lesson(page: Page) -> list[str]:
    # A Markdown table cannot do without a line of heads, even if they say nothing. And JupyterLab gives a PNG no
    # alternative text, so its text stands above it; test_every_picture_has_its_text holds the lessons to that.
    found = violations(page, OURS, empty_table_header=False)
    return [one for one in found if not one.startswith('image-alt: <img src="data:image/png')]


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_runs_from_top_to_bottom_and_shows_everything(page, course, name):
    open_lesson(page, name)
    run_all(page)
    notebook = save(page, course / "notebooks" / f"{name}.ipynb")
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [output["evalue"] for output in outputs if output["output_type"] == "error"] == []

    scroll_through(page)
    assert page.locator(f"{OPEN} [data-mime-type='application/vnd.jupyter.error']").count() == 0
    in_text = sum(cell.source.count("```mermaid\n") for cell in notebook.cells)
    for kind, drawn, more in (
        ("text/vnd.mermaid", ".jp-RenderedMermaid img", in_text),
        ("image/png", ".jp-RenderedImage img", 0),
    ):
        expected = more + sum(kind in output.get("data", {}) for output in outputs)
        pictures = page.locator(f"{OPEN} {drawn}")
        expect(pictures).to_have_count(expected, timeout=30_000)
        assert all(pictures.evaluate_all("all => all.map(one => one.complete && one.naturalWidth > 0)"))

    checks = [cell for cell in notebook.cells if cell.source.startswith("here.check(")]
    assert all("not done yet" in cell.outputs[0]["text"] for cell in checks)
    assert of_a_lesson(page) == []
    shot(page, name)


def test_an_exercise_is_solved_by_typing_and_stays_passed_after_a_restart(page):
    open_lesson(page, "00_start_here")
    run_all(page)
    assert "passed" not in run_cell(page, "lessons()")
    run_cell(page, 'exercise("00_customer")')
    stub = page.locator(f"{OPEN} .jp-CodeCell", has_text="# Your answer goes here").first
    stub.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.type("here.sql(\"INSERT INTO customers (name, email) VALUES ('Nina', 'nina@example.com')\")")
    page.keyboard.press("Shift+Enter")
    wait_until_idle(page)
    assert "passed" in run_cell(page, 'here.check("00_customer")')
    shot(page, "exercise")

    menu(page, "Kernel", "Restart Kernel…")
    page.locator(".jp-Dialog .jp-mod-accept").click()
    wait_until_idle(page)
    assert "as you left" in run_cell(page, 'lesson.resume("00_start_here")')
    assert "1 of 3" in run_cell(page, "lessons()")


@pytest.mark.parametrize("name", ["03_upgrade", "15_locks"])
def test_a_narrow_lesson_is_legible(page, name):
    open_lesson(page, name)
    page.set_viewport_size({"width": 700, "height": 900})
    page.keyboard.press("Control+b")  # the file browser makes room
    scroll_through(page)
    too_wide = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.innerText)"
    assert page.locator(f"{OPEN} .jp-RenderedMarkdown").evaluate_all(too_wide) == []
    shot(page, f"{name}-narrow")


def test_nothing_of_an_open_lesson_listens_beyond_this_machine(page, jupyter):
    open_lesson(page, "05_add_column")
    run_cell(page, "from lab import lesson")
    run_cell(page, "here.serve()")
    listening = [one for one in psutil.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    server = next(psutil.Process(one.pid) for one in listening if one.laddr.port == urlsplit(jupyter).port)
    children = server.children(recursive=True)
    postgresql = next(int(child.environ()["PGPORT"]) for child in children if "PGPORT" in child.environ())
    website = next(child.pid for child in children if child.cmdline()[1:3] == ["-m", "waitress"])

    ours = {server.pid, *(child.pid for child in children)}
    found = [one for one in listening if one.pid in ours or one.laddr.port == postgresql]
    assert {server.pid, website} < {one.pid for one in found}
    assert postgresql in {one.laddr.port for one in found}
    assert {one.laddr.ip for one in found} == {"127.0.0.1"}


@pytest.mark.parametrize("name", IN_THE_README)
def test_the_picture_of_a_stored_lesson_in_the_readme(page, name):
    lesson, source, number = IN_THE_README[name]
    page.set_viewport_size({"width": 1200, "height": 860})
    open_lesson(page, lesson)
    cell = page.locator(f"{OPEN} .jp-CodeCell").filter(has=page.locator(".cm-content", has_text=source)).nth(number)
    bring_into_view(page, cell.locator("img"))
    shot(page, name)


@pytest.fixture
def dark(course):
    """JupyterLab's dark theme, as a learner's own setting."""
    themes = course.parent / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    themes.mkdir(parents=True, exist_ok=True)
    setting = themes / "themes.jupyterlab-settings"
    setting.write_text('{"theme": "JupyterLab Dark"}')
    yield
    setting.unlink()


@pytest.mark.parametrize("name", ["03_upgrade", "15_locks"])
def test_a_dark_lesson_is_legible(dark, page, name):
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
    open_lesson(page, name)
    scroll_through(page)
    assert of_a_lesson(page) == []
    shot(page, f"{name}-dark")


@pytest.fixture(scope="module")
def shop():
    """A kernel in which lesson 05 is open; it serves the bookshop."""
    with home_of_its_own():
        kernel = Kernel()
        yield kernel
        kernel.close()


@pytest.mark.parametrize("width", [1280, 360])
def test_a_visitor_searches_pages_through_orders_and_sees_a_new_column(browser, shop, width):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme="dark" if width < 500 else "light")

    def looks_right(name: str) -> None:
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        shot(page, f"{name}-{width}")

    cells = iter(nbformat.read(NOTEBOOKS / "05_add_column.ipynb", 4).cells)
    address = run_until_it_serves(shop, cells)
    page.goto(address)
    expect(page.get_by_text("Page 1 of")).to_be_visible()
    looks_right("books")
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("Page 2 of")).to_be_visible()
    page.get_by_label("Title or author").fill("dickens")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status")).to_contain_text("found for “dickens”")
    looks_right("search")

    page.get_by_role("link", name="A Christmas Carol").click()
    expect(page.get_by_text("ISBN")).to_have_count(0)
    page.get_by_label("Your email address").fill("nobody@example.com")
    page.get_by_label("Copies").fill("2")
    page.get_by_role("button", name="Order").click()
    expect(page.get_by_text("No customer has this email address.")).to_be_visible()
    looks_right("refused")
    page.get_by_label("Your email address").fill("amir.adams1@example.com")
    page.get_by_role("button", name="Order").click()
    expect(page.get_by_role("status")).to_contain_text("Thank you")
    looks_right("thanks")
    page.goto(f"{address}/books/999")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    looks_right("error")

    page.goto(f"{run_until_it_serves(shop, cells)}/books/1")
    expect(page.get_by_text("ISBN 9780141389431")).to_be_visible()
    looks_right("isbn")
    page.close()


def run_until_it_serves(kernel: Kernel, cells) -> str:
    """Run the next cells of a lesson, up to one that starts the website; its address."""
    for cell in cells:
        if cell.cell_type == "code" and (found := re.search(r"http://\S+", kernel.run(cell.source))):
            return found[0]
    raise AssertionError("no cell serves")
