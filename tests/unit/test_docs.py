"""The docs hold what they say: commands and settings exist, lines are short, addresses stay."""

import ast
import os
import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from docs_tools import columns, drawings, exit_codes, files, reference, settings
from docs_tools.site import ELSEWHERE, fetched, relinked
from rubert_ood import __version__, cli, errors
from rubert_ood.runs.part import ERROR_SCHEMA, part_schema

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ADDRESSES = Path(__file__).parent / "runbook_addresses.txt"
UPDATE = os.environ.get("RUBERT_OOD_UPDATE") == "1"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
FILE_ENDS = {"json", "html"}
MAX_WIDTH, MAX_README_LINES = 120, 90
VERBS = "|".join(cli.VERBS)
TEST = r"([\w/]*test_\w+\.py)(?:::(\w+))?"
"""A test as a page names it: its file, and its name where there is one."""


def names(model: type[BaseModel]) -> set[str]:
    """Return every setting of a model as a flag names it."""
    return set(settings.names(model))


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each `rubert-ood VERB ...` in the shell blocks of a page."""
    for block in re.findall(r"^```(?:bash|console)\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(rf"rubert-ood (?:{VERBS})\b.*", line)
            if found:
                yield shlex.split(found[0], comments=True)[1:]


def test_readme_has_at_most_90_lines() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= MAX_README_LINES


def test_readme_names_every_verb() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    verbs = text[text.index("| to | verbs") : text.index("## Beside")]
    named = {name.split()[0] for name in re.findall(r"`([a-z][a-z -]*)`", verbs)}
    assert named - {"rubert-ood"} == set(cli.VERBS)


def test_lines_of_the_docs_have_at_most_120_characters_but_for_tables() -> None:
    wide = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in PAGES
        for number, line in enumerate(page.read_text("utf-8").splitlines(), start=1)
        if len(line) > MAX_WIDTH and not line.lstrip().startswith(("|", "<img"))
    ]
    assert wide == []


def test_commands_of_the_docs_name_verbs_and_settings_that_exist() -> None:
    seen = 0
    for page in PAGES:
        for verb, *words in commands(page.read_text("utf-8")):
            known = names(cli.VERBS[verb].settings)
            for word in words:
                flag = word.removeprefix("--").removeprefix("no-").partition("=")[0]
                assert not word.startswith("--") or flag in known, (page.name, verb, word)
            seen += 1
    assert seen > 30


def test_settings_that_prose_names_with_a_group_exist() -> None:
    """`gate.max_ood_rate` and the like, in code marks."""
    known = set().union(*(names(verb.settings) for verb in cli.VERBS.values()))
    groups = {name.partition(".")[0] for name in known if "." in name}
    for page in PAGES:
        prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
        for name in re.findall(r"`(?:--)?((?:[a-z_]+\.)+[a-z_]+)(?:: [^`]*)?`", prose):
            group, _, rest = name.partition(".")
            if rest in FILE_ENDS:
                continue
            assert group not in groups or name in known, (page.name, name)


def test_tests_that_the_docs_name_exist() -> None:
    """A claim that names its test is shown by that test, or by nothing."""
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    seen = 0
    for page in PAGES:
        for path, name in re.findall(TEST, page.read_text("utf-8")):
            files = [file for file in tests if file.as_posix().endswith(f"/{path}")]
            assert files, (page.name, path)
            if name:
                found = [f"def {name}(" in file.read_text("utf-8") for file in files]
                assert any(found), (page.name, path, name)
                seen += 1
    assert seen > 30


def test_commands_of_a_page_are_its_words_without_comments() -> None:
    text = "```bash\nX=1 rubert-ood verify --run_uri \\\n  'a b'  # why\n```\nrubert-ood plan\n"
    assert list(commands(text)) == [["verify", "--run_uri", "a b"]]


def test_yaml_of_the_docs_can_be_read() -> None:
    blocks = [
        block
        for page in PAGES
        for block in re.findall(
            r"^```yaml\n(.*?)^```", page.read_text("utf-8"), re.M | re.S
        )
    ]
    assert [type(yaml.safe_load(block)) for block in blocks] == [dict] * len(blocks)
    assert len(blocks) >= 3


# the runbook


def test_addresses_of_the_runbook_are_those_that_alerts_link_to() -> None:
    """RUBERT_OOD_UPDATE=1 records new ones; one that is gone breaks a link on somebody's pager."""
    text = (DOCS / "runbook.md").read_text("utf-8")
    found = re.findall(r"^### .+ \{ #([a-z0-9-]+) \}$", text, re.M)
    assert len(found) == len(re.findall("^### ", text, re.M)) == len(set(found)) > 60
    if UPDATE:
        ADDRESSES.write_text("\n".join(sorted(found)) + "\n", "utf-8")
    assert ADDRESSES.read_text("utf-8").split() == sorted(found)


def texts_of_the_code() -> str:
    """Return every text of the package, with three dots where a value is put in."""
    found = []
    for path in (ROOT / "rubert_ood").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [getattr(part, "value", None) for part in node.values]
                found.append("".join(p if isinstance(p, str) else "..." for p in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub("%[sd]", "...", node.value))
    return "\n".join(found)


def quotes(text: str) -> Iterator[str]:
    """Yield what the runbook says that a log shows, piece by piece between values."""
    for seen in re.findall(r"^- \*\*Seen:\*\* (.*?)(?=^- \*\*)", text, re.M | re.S):
        for quote in re.findall(r"`([^`]+)`", " ".join(seen.split())):
            for piece in re.split(r"\.\.\.+|\b[NM]\b|\d+(?= s\b)|[A-Z]{4,}:?", quote):
                words = piece.strip(" :();")
                if " " in words and not words.startswith("rubert-ood"):
                    yield words


def test_messages_that_the_runbook_quotes_are_those_of_the_code() -> None:
    said = texts_of_the_code()
    found = list(quotes((DOCS / "runbook.md").read_text("utf-8")))
    assert [quote for quote in found if quote not in said] == []
    assert len(found) > 30


# the reference


def test_settings_page_has_every_setting_of_every_verb() -> None:
    page = settings.settings_page()
    for name, verb in cli.VERBS.items():
        (part,) = re.findall(rf"^## {name}\n(.*?)(?=^## )", page, re.M | re.S)
        for field in verb.settings.model_fields:
            assert f"| `{field}" in part, (name, field)
    (groups,) = re.findall(r"^## Groups\n(.*)", page, re.M | re.S)
    for verb in cli.VERBS.values():
        for name in names(verb.settings):
            assert f"| `{name.rpartition('.')[2]}" in (groups if "." in name else page)


def test_row_of_a_setting_says_kind_unit_limits_and_default() -> None:
    field = cli.VERBS["score"].settings.model_fields["no_progress_timeout_s"]
    row = settings.row("no_progress_timeout_s", field)
    assert row.startswith("| `no_progress_timeout_s` | number, seconds, > 0 | `300` |")


def test_columns_page_has_a_meaning_for_each_column_and_for_no_other() -> None:
    schema = part_schema([], 768, {}, subheads=True)
    assert set(columns.MEANING) == set(schema.names)
    assert set(columns.REJECTED) == set(ERROR_SCHEMA.names)


def test_exit_codes_page_has_each_code_of_the_code() -> None:
    found = exit_codes.by_code()
    signals = {cli.INTERRUPTED, cli.TERMINATED, cli.CLOSED_PIPE}
    assert set(exit_codes.MEANING) == {0, *found} | signals
    assert found[6] == [
        errors.InputChangedError, errors.JobFailedError, errors.PartialRunError,
        errors.StorageUnavailableError,
    ]  # fmt: skip


def test_pages_of_files_describe_each_field_of_a_record() -> None:
    pages = reference.pages()
    page = pages["reference/run_files.md"]
    for file in files.RUN_FILES:
        assert f"| `{file.path}` |" in page
    assert "| `refusal_reason` | string |  *(may be missing)* |" in page
    assert "Digest of all that changes results" in page
    assert '"const"' in pages["reference/schemas/bundle_ThresholdDocument.json"] or (
        '"enum"' in pages["reference/schemas/bundle_ThresholdDocument.json"]
    )
    assert "- `gate`: " in pages["reference/modules.md"]


# the site


@pytest.mark.parametrize(
    ("src_uri", "link", "expected"),
    [
        ("how_to/gpu.md", "../../benchmarks/README.md", "../project/benchmarks.md"),
        ("index.md", "../CONTRIBUTING.md", "project/contributing.md"),
        ("project/changelog.md", "docs/training.md#x", "../training.md#x"),
        ("runbook.md", "how_to/promote.md", "how_to/promote.md"),
        ("runbook.md", "https://example.org/a.md", "https://example.org/a.md"),
        ("runbook.md", "#run-is-slow", "#run-is-slow"),
    ],
)
def test_links_of_the_repository_lead_to_pages_of_the_site(
    src_uri, link, expected
) -> None:
    assert relinked(f"see [there]({link}).", src_uri) == f"see [there]({expected})."


def test_pages_that_lie_outside_docs_exist() -> None:
    assert [path for path in ELSEWHERE if not (ROOT / path).is_file()] == []


def test_drawings_are_those_of_the_script_and_ask_for_nothing() -> None:
    for name, svg in {
        "flow": drawings.flow(),
        "exactly_once": drawings.exactly_once(),
    }.items():
        assert (drawings.PICTURES / f"{name}.svg").read_text("utf-8") == svg
        assert ET.fromstring(svg).tag.endswith("svg")
        assert re.findall(r"(?:href|src|url\((?!#)|@import)", svg) == []


@pytest.mark.parametrize(
    ("content", "is_quiet"),
    [
        ('<script src="https://unpkg.com/x.js"></script>', False),
        ('<link rel="stylesheet" href="//fonts.example/css">', False),
        ("<link rel=preconnect href=https://fonts.gstatic.com crossorigin>", False),
        ("a { background: url(https://x.example/a.png) }", False),
        ('<a href="https://example.org">a link that a reader follows</a>', True),
        ('<link rel="canonical" href="https://example.org/">', True),
        ('<script src="assets/x.js"></script><img src="../pictures/flow.svg">', True),
    ],
)
def test_site_is_refused_where_a_browser_would_ask_another_server(
    content, is_quiet
) -> None:
    assert (fetched(content) == []) is is_quiet


# the front garden


def test_citation_names_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == __version__


def test_changelog_groups_the_changes_of_each_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    for version in text.split("\n## ")[1:]:
        intro, *groups = version.split("\n### ")
        assert "\n- " not in intro
        kinds = [group.partition("\n")[0] for group in groups]
        assert kinds
        assert set(kinds) <= {
            "Added",
            "Changed",
            "Deprecated",
            "Removed",
            "Fixed",
            "Security",
        }


def test_hooks_of_a_commit_are_the_tools_of_make_check() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    (local,) = config["repos"]
    tools = {hook["entry"].split()[0].rpartition("/")[2] for hook in local["hooks"]}
    makefile, used = (ROOT / "Makefile").read_text("utf-8"), set()
    assert "\ncheck: lint types docs\n" in makefile
    for target in ("lint", "types"):
        recipe = makefile.partition(f"\n{target}: ")[2].partition("\n\n")[0]
        used |= {*re.findall(r"\$\(BIN\)/([\w-]+)", recipe)}
    assert tools == used == {"ruff", "mypy", "lint-imports"}
