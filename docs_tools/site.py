"""Hooks of mkdocs: pages that are generated, pages that lie elsewhere in the repository, their
links."""

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs_tools import reference  # noqa: E402

ELSEWHERE = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "benchmarks/results/recipes.md": "project/recipes.md",
}
"""Pages outside docs/, and where they stand on the site."""
FETCHED = re.compile(
    r"""<(?:script|img|source|iframe)\b[^>]*\bsrc(?:set)?=["']?(?:https?:)?//[^"' >]+"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|icon|preload|preconnect))[^>]*"""
    r"""href=["']?(?:https?:)?//[^"' >]+|(?:@import|url\()["' ]*https?:[^)]+"""
)
"""What a browser would ask another server for."""
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated, and those that lie elsewhere."""
    for src_uri, content in reference.pages().items():
        files.append(File.generated(config, src_uri, content=content))
    for path, src_uri in ELSEWHERE.items():
        files.append(File.generated(config, src_uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Lead the links between docs/ and the rest of the repository to the pages of the site."""
    return relinked(markdown, page.file.src_uri)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that makes the reader's browser ask another server for anything."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css"):
            found = fetched(path.read_text("utf-8"))
            if found:
                raise PluginError(f"{path}: asks another server: {found[0]}")


def fetched(content: str) -> list[str]:
    """Return what a page or a style sheet would ask another server for."""
    return FETCHED.findall(content)


def relinked(markdown: str, src_uri: str) -> str:
    """Replace links that hold in the repository by those that hold on the site."""
    places = {site: path for path, site in ELSEWHERE.items()}
    here = posixpath.dirname(places.get(src_uri, f"docs/{src_uri}"))

    def place(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(here, match[1]))
        target = ELSEWHERE.get(path, path.removeprefix("docs/"))
        return posixpath.relpath(target, posixpath.dirname(src_uri)) + (match[2] or "")

    return LINK.sub(place, markdown)
