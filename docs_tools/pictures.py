"""The pictures of the docs: drawings, and screenshots of the pages that a demo run left.

`make pictures` runs this. Where there is no demo yet, it runs the demo first (about 4 minutes).
"""

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from docs_tools.drawings import PICTURES, ROOT, draw

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
DEMO = ROOT / "demo"
WIDTH, HEIGHT = 1200, 860
"""Of the window, in CSS pixels: what a person sees first."""
COLOURS = 160
"""Of a picture; pages of text and bars look the same, at a third of the bytes."""
MAX_BYTES = 200_000
WITHOUT_FOLDER = """folder => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode())
        texts.currentNode.data = texts.currentNode.data.replaceAll(folder, "");
}"""
"""Leaves the folder of this machine out of the paths that a page shows."""
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]


@dataclass(frozen=True)
class Shot:
    """A picture of a page."""

    name: str
    page: Path
    scheme: Scheme


def shots(demo: Path) -> Iterator[Shot]:
    """Yield what to picture of the newest run and bundle of a demo; RuntimeError without one."""
    pages = {
        "run_report": demo.glob("scored/run_date=*/run_id=*/_run/report.html"),
        "evaluation": demo.glob("bundles/*/evaluation.html"),
    }
    for name, found in pages.items():
        newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            raise RuntimeError(f"{demo}: no {name} page; run `make demo`")
        for scheme in SCHEMES:
            yield Shot(f"{name}_{scheme}.png", newest, scheme)


def take(browser: Browser, shot: Shot) -> bytes:
    """Return the first screen of a page as a PNG of few colours."""
    page = browser.new_page(
        viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=shot.scheme
    )
    page.goto(shot.page.as_uri())
    page.wait_for_load_state("load")
    page.evaluate(WITHOUT_FOLDER, f"{ROOT}/")
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    page.close()
    few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    data = io.BytesIO()
    few.save(data, "PNG", optimize=True)
    return data.getvalue()


def main() -> None:
    """Draw, run the demo if there is none, and take the screenshots."""
    draw()
    if not list(DEMO.glob("scored/run_date=*/run_id=*/_run/report.html")):
        rubert_ood = Path(sys.executable).with_name("rubert-ood")
        command = f"{rubert_ood} demo --output_uri {DEMO} --ray_address local".split()
        subprocess.run(command, check=True, cwd=ROOT)
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        for shot in shots(DEMO):
            data = take(browser, shot)
            assert len(data) < MAX_BYTES, (shot.name, len(data))
            (PICTURES / shot.name).write_bytes(data)
            print(f"{PICTURES / shot.name}  {len(data) / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()
