"""The site as files: every address leads somewhere, nothing leads outside, and every state is shown."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from command_line import TABLE
from filled_store import Report, fill_all, plan_of

from replicate.figures.load import figures_of
from replicate.site.book import gather
from replicate.site.site import LISTED, render, write
from replicate.store.store import Store

pytestmark = pytest.mark.drawn


class Page(HTMLParser):
    """Addresses, ids, tags and the text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self.addresses += [value for name in ("href", "src") if (value := found.get(name)) is not None]
        if (own := found.get("id")) is not None:
            self.ids.append(own)

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("style", "script"):
            self.text += data


def pages(report: Report) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(report.folder.rglob("*.html"))}


@pytest.fixture(scope="module")
def read(report: Report) -> dict[Path, Page]:
    return pages(report)


def check_addresses(report: Report, read: dict[Path, Page]) -> int:
    checked = 0
    for path, page in read.items():
        for address in page.addresses:
            if address.startswith("data:"):
                continue
            name, anchor = urldefrag(address)
            target = (path.parent / name).resolve() if name else path
            assert target.is_file(), f"{path.name}: {address}"
            assert target.is_relative_to(report.folder.resolve())
            if anchor:
                assert unquote(anchor) in read[target if name else path].ids, f"{path.name}: {address}"
                checked += 1
    return checked


def test_every_address_leads_to_a_file_and_a_place_in_it(report: Report, read: dict[Path, Page]) -> None:
    assert check_addresses(report, read) > 200


def test_the_report_of_all_tables_and_figures_is_whole(whole: Report) -> None:
    read = pages(whole)
    assert check_addresses(whole, read) > 1000
    assert len(list((whole.folder / "tables").glob("*.html"))) == len(whole.book.tables)
    assert len(whole.book.pictures) == len(figures_of(whole.book.plan.specs).specs)
    index = read[whole.folder / "index.html"]
    for picture in whole.book.pictures:
        assert whole.book.addresses.figure(picture.figure.id) in index.addresses
    for page in read.values():
        assert len(page.ids) == len(set(page.ids))
        assert not re.search(r"\breplicated\b|\breproduced\b", page.text, re.IGNORECASE)


def test_pictures_bring_nothing_with_them(whole: Report) -> None:
    for path in (whole.folder / "figures").glob("*.svg"):
        text = path.read_text()
        assert "<script" not in text
        assert not re.search(r"""(?:href|src)=["'](?!#)(?!data:)""", text), path
        assert not re.search(r"url\((?!#)", text)


def test_what_the_search_finds_is_there(report: Report, read: dict[Path, Page]) -> None:
    import json

    text = (report.folder / "search.js").read_text()
    found = json.loads(text.removeprefix("var SEARCH_INDEX = ").removesuffix(";\n"))
    assert {kind for kind, _, _ in found} == {"table", "claim", "run", "row", "job"}
    for _, _, address in found:
        name, anchor = urldefrag(address)
        page = read[report.folder / name]
        assert not anchor or unquote(anchor) in page.ids


def test_ids_stand_once_on_a_page(read: dict[Path, Page]) -> None:
    for path, page in read.items():
        assert len(page.ids) == len(set(page.ids)), path


def test_nothing_comes_from_a_network(report: Report) -> None:
    for path in report.folder.rglob("*"):
        if path.suffix in (".html", ".js", ".css"):
            text = path.read_text()
            for reference in re.findall(r"""(?:href|src|action|srcset)=["']?[^\s>]+|url\([^)]*\)|@import[^;]*""", text):
                assert "//" not in reference, f"{path}: {reference}"
            assert "fetch(" not in text
            assert "XMLHttpRequest" not in text


def test_the_policy_allows_the_site_itself_and_nothing_else(read: dict[Path, Page]) -> None:
    for path, page in read.items():
        (policy,) = [
            attributes["content"] or ""
            for tag, attributes in page.tags
            if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policy.startswith("default-src 'none';"), path
        assert "unsafe" not in policy
        assert not [attributes for _, attributes in page.tags if "style" in attributes or "onclick" in attributes]


def test_every_number_leads_to_its_evidence(report: Report) -> None:
    page = Page(report.folder / "tables" / f"{TABLE}.html")
    table = report.book.table(TABLE)
    for ref, cell in table.cells.items():
        if cell.state == "text":
            continue
        address = report.book.evidence(cell)
        assert f"../{address}" in page.addresses
        if cell.state == "done" and not ref.is_reference:
            assert address.startswith("runs/")
            assert cell.jobs[0] in unquote(address)


def test_states_of_jobs_are_shown_where_they_matter(report: Report, read: dict[Path, Page]) -> None:
    text = read[report.folder / "jobs.html"].text
    for state, job in report.left.items():
        facts = report.book.jobs[job.key]
        assert facts.shown == state
        line = text[text.index(job.key) :][:400]
        assert state in line
        own = read[report.folder / report.book.addresses.job(job.key).partition("#")[0]]
        assert state in own.text
    assert "diverged: a loss that is not finite & <i>more</i>" in text
    assert "checksum does not fit" in text


def test_the_claims_stand_by_verdict_what_fails_first(report: Report) -> None:
    """Each claim once, in a section that the page begins by linking to, with its number of claims."""
    page = (report.folder / "claims.html").read_text(encoding="utf-8")
    sections = re.findall(r'<section id="([a-z-]+)">\n<h2>[^<]+ \((\d+)\)</h2>(.*?)</section>', page, re.DOTALL)
    names = [name for name, _, _ in sections]
    assert names == [
        name for name in ("fails", "undecided", "not-decidable", "holds", "not-run", "never") if name in names
    ]
    assert re.findall(r'href="#([a-z-]+)">[^<]*<b>(\d+)</b>', page) == [(name, count) for name, count, _ in sections]
    for name, count, body in sections:
        assert body.count("<tr class=") == int(count)
        for line in (line for line in report.book.claims if f'href="{line.href}"' in body):
            verdict = line.claim.verdict.replace(" ", "-") if line.claim.possible else "never"
            assert verdict == name
    assert sum(int(count) for _, count, _ in sections) == len(report.book.claims)


def test_what_is_missing_is_said_with_its_reason(report: Report, read: dict[Path, Page]) -> None:
    text = read[report.folder / "index.html"].text
    missing = text[text.index("What is not here, and why") :]
    assert f"{report.left['running'].key} is running" in missing
    assert f"{report.left['failed'].key} failed: diverged" in missing
    assert f"{TABLE}" in missing


def test_the_banner_is_on_every_page_and_no_page_says_that_a_number_was_confirmed(read: dict[Path, Page]) -> None:
    for path, page in read.items():
        assert "miniature: tests the pipeline, not the paper" in page.text, path
        assert not re.search(r"\breplicated\b|\breproduced\b", page.text, re.IGNORECASE), path


def test_the_overview_says_what_its_errors_are(read: dict[Path, Page], report: Report) -> None:
    assert "± is half of the 95 % interval, over seeds and test images" in read[report.folder / "index.html"].text


def test_at_the_scale_of_the_paper_there_is_no_banner_and_verdicts_are_given(paper_report: Report) -> None:
    found = pages(paper_report)
    text = found[paper_report.folder / "tables" / f"{TABLE}.html"].text
    assert "differs" in text
    assert all("miniature" not in page.text for page in found.values())
    checklist = found[paper_report.folder / "checklist.html"].text
    assert "n = 2 for every number" in checklist
    assert "what several seeds of a table show" in checklist


def test_a_run_shows_recipe_sources_cost_environment_files_and_its_command(report: Report) -> None:
    name = "deit-b-224/token"
    page = Page(report.folder / report.book.addresses.run(name))
    job = report.book.plan.expander.network(name, 0)
    result = report.book.jobs[job.key].result
    assert result is not None
    for text in (
        "T9: 0.0005 x batch/512",  # the comment beside the value in runs.toml
        "1.25e-3 at the batch of 32 below",  # and beside what the scale changes
        "12\N{NO-BREAK SPACE}s",
        "480\N{NO-BREAK SPACE}MB",
        "0123456789abcdef",
        "Some <b>processor</b>",
        result.files["model.safetensors"],
        f"python -m replicate run {job.key} --again",
        "deit-b-224/token",
    ):
        assert text in page.text, text
    assert [tag for tag, _ in page.tags].count("polyline") == 2
    teacher = report.book.addresses.run("regnety-16gf")
    assert any(address.endswith(teacher.rpartition("/")[2]) for address in page.addresses)


def test_the_checklist_says_what_was_recorded(report: Report, read: dict[Path, Page]) -> None:
    text = read[report.folder / "checklist.html"].text
    for said in (
        "commit 0123456789ab",
        "ran with changes that were not committed",
        "Some <b>processor</b>, Linux x86_64, 1 thread a job",
        "torch 2.15.0",
        "1 seed: 0",
        "deit-s, 224, imagenet: 3.9, 32 degrees of freedom",
        "Recipe regnet: lr = 0.1",
        "not published; the usual 0.1 x batch/256",
    ):
        assert said in text, said


def test_the_same_results_give_the_same_bytes(report: Report) -> None:
    book = gather(report.book.plan, report.book.store)
    for name, content in render(book):
        assert (report.folder / name).read_bytes() == content, name


def test_what_a_site_no_longer_has_is_removed_and_nothing_else(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    write(report.book, folder)
    (folder / "mine.html").write_text("kept")
    (folder / "old.html").write_text("of an earlier site")
    outside = tmp_path / "outside.html"
    outside.write_text("kept")
    listed = folder / LISTED
    listed.write_text(listed.read_text().replace("[", '["old.html", "../outside.html", 3,', 1))
    write(report.book, folder)
    assert not (folder / "old.html").exists()
    assert (folder / "mine.html").read_text() == "kept"
    assert outside.read_text() == "kept"


def test_an_empty_store_gives_a_whole_site(table3: Path, tmp_path: Path) -> None:
    book = gather(plan_of(table3), Store(tmp_path / "nothing"))
    write(book, tmp_path / "site")
    text = Page(tmp_path / "site" / "index.html").text
    assert "nothing computed yet" in text
    assert "24 not run" in text


HOSTILE = "<script>alert(1)</script> & \\\"'` ]]> {{ 7*7 }} <img src=x onerror=alert(2)>"


def test_hostile_words_stay_words(table3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "scales").symlink_to(table3 / "scales")
    quoted = HOSTILE.replace("\\", "\\\\").replace('"', '\\"')
    spec = (table3 / f"{TABLE}.toml").read_text()
    for harmless in ("DeiT – no distillation", "hard distillation beats no distillation", "Ti 224", "supervision"):
        assert harmless in spec
        spec = spec.replace(harmless, quoted)
    (folder / f"{TABLE}.toml").write_text(spec)
    runs = (table3 / "runs.toml").read_text().replace("# pre-training, all sizes alike", f"# {HOSTILE}")
    (folder / "runs.toml").write_text(runs)
    plan = plan_of(folder)
    store = Store(tmp_path / "results")
    fill_all(store, plan)
    write(gather(plan, store), tmp_path / "site")
    seen = 0
    for path in sorted((tmp_path / "site").rglob("*.html")):
        page = Page(path)
        scripts = [attributes for tag, attributes in page.tags if tag == "script"]
        assert len(scripts) == 2, path
        assert "img" not in [tag for tag, _ in page.tags]
        seen += "alert(1)" in page.text
        assert "49" not in re.findall(r"\{\{ 49|` \]\]> 49", page.text)
    assert seen > 5
    assert "</script" not in (tmp_path / "site" / "search.js").read_text()
