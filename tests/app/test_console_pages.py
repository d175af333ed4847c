"""The console on a small project that was run for real: every page, in a browser and without one, and what it must not
do.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from console_project import NASTY, made, send, serving

from millstream.app.console.overview import draw
from millstream.run.port import Run
from millstream.run.workspace import Workspace
from millstream.templates import create

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("Overview", "Tables", "SQL", "Runs", "Models", "Experiments", "Endpoints", "Monitors", "Trace")


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with made(tmp_path_factory.mktemp("console") / "shop") as workspace:
        yield workspace


@pytest.fixture(scope="module")
def url(ws: Workspace) -> Iterator[str]:
    with serving(ws) as address:
        yield address


@pytest.fixture(scope="module")
def pages(url: str, paths: list[str]) -> dict[str, httpx.Response]:
    """Every page as it was answered."""
    with httpx.Client(base_url=url) as client:
        return {path: client.get(path) for path in paths}


@pytest.fixture(scope="module")
def paths(ws: Workspace) -> list[str]:
    """Every page of the project."""
    project = ws.project
    decision = (
        ws.sql.query("select decision_id from t limit 1", {"t": ws.lake.table("offer_decisions").snapshot()}, {})
        .read_all()
        .to_pylist()[0]
    )
    run = ws.state.list("run", newest=True, limit=1)[0].key
    query = urlencode(
        {"query": "select customer, count(*) as n, null as nothing from visits group by all order by n desc"}
    )
    return [
        "/",
        "/tables",
        "/sql",
        f"/sql?{query}",
        "/runs",
        f"/runs/{run}",
        "/models",
        "/models/buyer@1",
        "/models/buyer@champion",
        "/experiments",
        "/endpoints",
        "/monitors",
        "/trace",
        f"/trace?id={decision['decision_id']}",
        *(f"/tables/{name}" for name in ws.lake.names()),
        *(f"/experiments/{name}" for name in project.experiments),
        *(f"/endpoints/{name}" for name in project.endpoints),
        *(f"/monitors/{name}" for name in project.monitors),
        *(f"/features/{name}" for name in project.features),
    ]


def ask(url: str, query: str) -> str:
    return httpx.get(f"{url}/sql", params={"query": query}).raise_for_status().text


def table_of(page: str) -> list[list[str]]:
    """The cells of the page's last table."""
    body = page[page.rindex("<tbody>") :]
    return [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)]
        for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    ]


def test_every_page_answers_and_says_what_it_may_load(pages: dict[str, httpx.Response]) -> None:
    assert len(pages) > 30
    for path, answer in pages.items():
        assert answer.status_code == 200, path
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'"), path
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert "<script>document" not in answer.text and "<img src=x" not in answer.text, path


def test_every_link_leads_to_a_page(url: str, pages: dict[str, httpx.Response]) -> None:
    links = {
        link.replace("&amp;", "&") for page in pages.values() for link in re.findall(r'href="(/[^"#]*)"', page.text)
    }
    assert len(links) > 40
    traces = sorted(link for link in links if "/trace?id=" in link)
    with httpx.Client(base_url=url) as client:  # one decision's link is like another's
        for link in sorted(links - set(pages) - set(traces[2:])):
            assert client.get(link).status_code == 200, link


def test_many_may_look_at_once(url: str, paths: list[str]) -> None:
    with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=url, timeout=60) as client:
        answers = list(pool.map(client.get, [path for path in paths if not path.startswith("/tables/")] * 2))
    assert {answer.status_code for answer in answers} == {200}


def test_unknown_names_are_not_found_and_said_so(url: str) -> None:
    for path in (
        "/nothing",
        "/tables/nothing",
        "/runs/nothing",
        "/models/nothing",
        "/experiments/nothing",
        "/endpoints/nothing",
        "/monitors/nothing",
        "/features/nothing",
        "/stream/spend",
        "/static/nothing.css",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
    ):
        answer = httpx.get(url + path)
        assert answer.status_code == 404, path
        assert "Not found" in answer.text, path
    assert "No decision" not in httpx.get(f"{url}/trace").text
    assert "no decision &#34;nothing&#34;" in httpx.get(f"{url}/trace?id=nothing").text


def test_only_names_of_this_machine_are_answered(url: str) -> None:
    assert httpx.get(url, headers={"host": "evil.example"}).status_code == 400
    assert httpx.get(url, headers={"host": "127.0.0.1.evil.example"}).status_code == 400
    assert httpx.get(url, headers={"host": "localhost:8601"}).status_code == 200


def test_nothing_can_be_changed_by_a_request(url: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("/", "/sql", "/tables/orders"):
            assert httpx.request(method, url + path, params={"query": "select 1"}).status_code == 405


def test_texts_of_the_project_and_of_the_asker_are_shown_as_text(url: str) -> None:
    shown = NASTY.replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;").replace('"', "&#34;")
    for answer in (
        ask(url, "select text from notes where note_id = 'n1'"),
        ask(url, f"select '{NASTY.replace(chr(39), chr(39) * 2)}' as x"),
        httpx.get(f"{url}/tables/notes").text,
        httpx.get(f"{url}/trace", params={"id": NASTY}).text,
    ):
        assert "<script>document" not in answer and "<img" not in answer
        assert shown in answer
    assert "<script>document" not in httpx.get(f"{url}/{NASTY}/{NASTY}").text


def test_the_sql_box_shows_rows_numbers_and_null(url: str) -> None:
    rows = table_of(
        ask(url, "select note_id, size, size / 3 as third, null as nothing, ts from notes order by note_id limit 2")
    )
    assert rows == [
        ["n1", "1,234,567", "411,522", "NULL", "2026-01-20 10:01:00"],
        ["n10", "12,345,670", "4,115,223", "NULL", "2026-01-20 10:10:00"],
    ]
    assert "the first 500 rows in" in ask(url, "select * from range(10000)")
    assert len(table_of(ask(url, "select * from range(10000)"))) == 500
    assert "The query found no row." in ask(url, "select * from notes where size < 0")


@pytest.mark.parametrize(
    "query",
    [
        "insert into notes values ('x', 'x', 1, now())",
        "update notes set size = 0",
        "delete from notes",
        "drop table notes",
        "create table x as select 1",
        "truncate notes",
        "copy notes to '{out}'",
        "copy (select 1) to '{out}' (format parquet)",
        "export database '{out}'",
        "attach '{out}' as other",
        "install httpfs",
        "load httpfs",
        "pragma database_list",
        "set enable_external_access = true",
        "select * from read_csv('{secret}')",
        "select * from read_parquet('{lake}/notes/*.parquet')",
        "select * from '{secret}'",
        "select * from '{lake}/notes/*.parquet'",
        "select * from glob('{lake}/*')",
        "select * from read_text('{secret}')",
        "select * from read_csv('https://example.com/x.csv')",
        "select * from 'https://example.com/x.parquet'",
        "select content from read_blob('{secret}')",
        "select getenv('HOME')",
        "select current_setting('temp_directory')",
        "select * from duckdb_settings()",
        "select * from notes; select 1",
        "call pragma_version()",
        "from sqlite_scan('{log}', 'batch')",
        "with x as (select * from read_csv('{secret}')) select * from x",
        "select * from information_schema.tables",
        "",
    ],
)
def test_the_sql_box_only_reads_and_only_the_lake(ws: Workspace, url: str, tmp_path: Path, query: str) -> None:
    secret, out = tmp_path / "secret.csv", tmp_path / "out"
    secret.write_text("word\nabracadabra\n")
    version = ws.lake.table("notes").version
    page = ask(url, query.format(secret=secret, out=out, lake=ws.settings.lake, log=ws.settings.log.partition(":")[2]))
    assert 'role="alert"' in page or not query
    assert "abracadabra" not in page and "<tbody>" not in page
    assert not out.exists() and ws.lake.table("notes").version == version


def test_with_a_token_nothing_is_shown_without_it(ws: Workspace) -> None:
    with serving(ws, token="s3cret", hosts=("*",)) as url:
        for path in ("/", "/tables/orders", "/static/console.css", "/nothing", "/?token=wrong", "/?token="):
            refused = httpx.get(url + path)
            assert refused.status_code == 401 and "shop" not in refused.text and "s3cret" not in refused.text, path
            assert refused.headers["content-security-policy"]
        assert httpx.get(url, headers={"authorization": "Bearer s3cret"}).status_code == 200
        with httpx.Client(base_url=url) as client:
            told = client.get("/sql?query=select+1&token=s3cret")
            assert told.status_code == 303 and told.headers["location"] == "/sql?query=select+1"
            assert re.search(r"httponly.*samesite=strict", told.headers["set-cookie"], re.IGNORECASE)
            assert client.get("/").status_code == 200
        elsewhere = httpx.get(f"{url}//evil.example/?token=s3cret")
        assert elsewhere.headers["location"] == "/evil.example/"


def test_no_server_listens_beyond_loopback_without_a_token(ws: Workspace) -> None:
    words = [sys.executable, "-m", "millstream", "--project", str(ws.project.root)]
    verbs = {
        "console": ["console", "--host", "0.0.0.0"],
        "serve": ["serve", "--host", "::"],
        "up": ["--set", "console.host=0.0.0.0", "up"],
    }
    started = {
        name: subprocess.Popen([*words, *verb], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name, verb in verbs.items()
    }
    for name, process in started.items():
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode in (2, 3), (name, process.returncode, out, err)
        assert "token" in err, (name, err)


def test_the_graph_reads_from_left_to_right_and_no_edge_runs_through_a_box(ws: Workspace) -> None:
    drawing = draw(ws)
    box = {node.name: node for node in drawing.nodes}
    for way in (
        ["orders", "spend", "visit_set", "buyer", "offer", "offer_decisions"],
        ["visits", "habit", "visit_set"],
        ["orders", "banner_test", "banner"],
    ):
        assert [box[name].x for name in way] == sorted({box[name].x for name in way}), way
    for source, target, path in drawing.edges:
        for x, y in _points(path):
            for node in drawing.nodes:
                inside = node.x + 1 < x < node.x + drawing.box - 1 and node.y + 1 < y < node.y + 45
                assert not inside, f"{source} to {target} runs through {node.name}"


def _points(path: str) -> list[tuple[float, float]]:
    """Points along an edge: its curves sampled, its straight parts too."""
    found, here = list[tuple[float, float]](), (0.0, 0.0)
    for letter, numbers in re.findall(r"([MCH])([-\d. ]+)", path):
        n = [float(v) for v in numbers.split()]
        if letter == "M":
            here = (n[0], n[1])
        elif letter == "H":
            found += [(here[0] + (n[0] - here[0]) * k / 10, here[1]) for k in range(11)]
            here = (n[0], here[1])
        else:
            p = [here, (n[0], n[1]), (n[2], n[3]), (n[4], n[5])]
            for k in range(11):
                t = k / 10
                weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3]
                found.append(
                    (
                        sum(w * q[0] for w, q in zip(weights, p, strict=True)),
                        sum(w * q[1] for w, q in zip(weights, p, strict=True)),
                    )
                )
            here = p[3]
    return found


@pytest.mark.parametrize("template", ["", "quickstart"])
def test_what_is_empty_says_what_fills_it_and_looking_makes_nothing(tmp_path: Path, template: str) -> None:
    folder = tmp_path / "new"
    if template:
        create(template, folder)
    else:
        folder.mkdir()
        (folder / "millstream.toml").write_text('[project]\nname = "new"\n')
    with Workspace.open(str(folder)) as fresh, serving(fresh) as address:
        names = ["/", "/tables", "/sql", "/runs", "/models", "/experiments", "/endpoints", "/monitors", "/trace"]
        for path in (
            [*names, "/tables/orders", "/models/buyer", "/endpoints/offer", "/features/spend"] if template else names
        ):
            page = httpx.get(address + path)
            assert page.status_code == 200, path
            assert template or re.search("<code>(millstream|ms[.]|@ms[.])", page.text), (
                f"{path} does not say what fills it"
            )
        assert "No run yet: <code>millstream run</code>" in httpx.get(address).text
        assert httpx.get(f"{address}/models/buyer@7").status_code == (200 if template else 404)
    assert not (folder / ".millstream" / "mlflow.db").exists(), (
        "looking at models that were never trained makes no registry"
    )


@pytest.fixture(scope="module")
def browser(url: str) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is missing")
    if CHROMIUM is None:
        pytest.skip("chromium is missing: apt install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_every_page_is_well_in_a_browser(browser: Any, url: str, paths: list[str], width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    wrong, asked = list[str](), set[str]()
    page.on(
        "console",
        lambda message: wrong.append(f"{page.url}: {message.text}") if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
    page.on("request", lambda request: asked.add(request.url))
    tables = [path for path in paths if path.startswith("/tables/")]
    for path in paths if width == 390 else set(paths) - set(tables[2:]):
        page.goto(url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} is wider than the window"
        assert page.evaluate("document.querySelectorAll('h1').length") == 1, path
        assert page.title() != "taken", path
        assert page.evaluate("getComputedStyle(document.body).margin") == "0px", f"{path} has no style"
    assert not wrong
    assert {u for u in asked if not u.startswith((url + "/", "data:"))} == set()
    page.close()


@pytest.mark.browser
def test_letters_stand_out_from_what_is_behind_them(browser: Any, url: str) -> None:
    """At least 4.5 to 1 for text and for states, light and dark (WCAG 2.1, 1.4.3)."""
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(url)
        colours = page.evaluate("""() => Object.fromEntries([
            "paper", "card", "ink", "quiet", "accent", "accent-soft",
            "ok", "ok-soft", "warn", "warn-soft", "bad", "bad-soft",
          ].map((name) => {
            const c = document.createElement("i");
            c.style.color = `var(--${name})`;
            document.body.append(c);
            return [name, getComputedStyle(c).color];
          }))""")
        light = {name: _luminance([int(v) for v in re.findall(r"\d+", colour)[:3]]) for name, colour in colours.items()}
        pairs = [(word, behind) for word in ("ink", "quiet", "accent") for behind in ("paper", "card")] + [
            (w, f"{w}-soft") for w in ("accent", "ok", "warn", "bad")
        ]
        for word, behind in pairs:
            high, low = max(light[word], light[behind]), min(light[word], light[behind])
            assert (high + 0.05) / (low + 0.05) >= 4.5, f"{word} on {behind}, {scheme}"
        page.close()


def _luminance(rgb: list[int]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.browser
def test_the_way_through_the_pages(browser: Any, url: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(url)
    for name in NAMES:
        page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        assert page.locator("nav [aria-current]").inner_text() == name
    page.locator("table a").first.click()
    assert page.locator("h1").inner_text() == "Trace of a prediction"
    assert page.locator("summary, .flat").count() > 3
    page.goto(f"{url}/sql")
    page.get_by_label("Query").fill("select count(*) as n from notes")
    page.get_by_label("Query").press("Control+Enter")
    page.wait_for_url("**/sql?query=*")
    assert page.locator("tbody td").all_inner_texts() == ["29"]
    page.get_by_label("Query").fill("delete from notes")
    page.get_by_role("button", name="Run").click()
    assert "only reading is allowed" in page.get_by_role("alert").inner_text()
    page.goto(url)
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "To the content"
    page.locator("svg.graph a[data-node=spend]").focus()
    assert page.locator(".edge.lit").count() == 2
    page.keyboard.press("Enter")
    page.wait_for_url("**/features/spend")
    page.close()


@pytest.mark.browser
def test_a_figure_follows_an_event_without_a_reload(browser: Any, url: str, ws: Workspace) -> None:
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(url)
    row = page.locator("[data-live=streams] tr", has_text="visits")
    before = int(row.locator("td").nth(1).inner_text())
    page.evaluate("window.same = 1; document.querySelector('.scroll[data-live=graph]').scrollLeft = 90")
    page.locator("svg.graph a[data-node=habit]").focus()
    scrolled = page.evaluate("document.querySelector('.scroll[data-live=graph]').scrollLeft")
    send(
        ws,
        "visits",
        *({"visit_id": f"live{i}", "customer": "sam", "device": "phone", "ts": datetime.now(UTC)} for i in range(3)),
    )
    expect(row.locator("td").nth(1)).to_have_text(str(before + 3), timeout=15_000)
    expect(row.locator("td").nth(3)).to_have_text("3")
    assert page.evaluate("window.same") == 1, "the page was not loaded again"
    assert page.evaluate("document.activeElement.dataset.node") == "habit", "the focus stayed"
    assert page.evaluate("document.querySelector('.scroll[data-live=graph]').scrollLeft") == scrolled > 0
    page.close()


@pytest.mark.browser
def test_a_console_that_went_away_is_told(browser: Any, ws: Workspace) -> None:
    with serving(ws) as address:
        page = browser.new_page()
        page.goto(address)
        assert not page.get_by_text("the figures are old").is_visible()
    page.get_by_text("the figures are old").wait_for(timeout=15_000)
    page.close()


def test_a_run_is_begun_from_these_pages_only(url: str, ws: Workspace) -> None:
    assert "Bring all up to date" in httpx.get(f"{url}/runs").text
    for origin in ({}, {"origin": "https://evil.example"}, {"origin": "null"}):
        assert httpx.post(f"{url}/runs", headers=origin).status_code == 403
    begun = httpx.post(f"{url}/runs", headers={"origin": url}, timeout=30)
    assert begun.status_code == 303
    run = begun.headers["location"].rpartition("/")[2]
    assert run in [found.run_id for found in ws.orchestrator.runs(5)]
    deadline = time.monotonic() + 60
    while not ws.orchestrator.run(run).ended:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert httpx.get(f"{url}/runs/{run}").status_code == 200


def test_runs_of_another_orchestrator_have_pages(url: str, ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "shop__daily/scheduled__2026-11-26T00:00:00+00:00"
    rows = ({"name": "spend", "kind": "table", "status": "made", "seconds": 1.5, "rows": 7, "note": "", "error": ""},)
    other = SimpleNamespace(
        runs=lambda limit: [Run(name, "queued")],
        run=lambda run_id: {name: Run(name, "running", datetime.now(UTC), None, rows)}[run_id],
    )
    monkeypatch.setitem(ws.__dict__, "orchestrator", other)
    page = httpx.get(f"{url}/runs").text
    link = re.search(r'href="(/runs/shop__daily[^"]*)"', page)
    assert link is not None
    shown = httpx.get(url + link[1]).text
    assert name.partition("/")[2].replace("+", "&#43;") in shown or name in shown
    assert "spend" in shown
    assert httpx.get(url).status_code == 200
