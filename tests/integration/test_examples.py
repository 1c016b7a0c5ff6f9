"""The notebooks under examples/ run as they stand, and are kept with their outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "score_a_dataframe.ipynb"


def _printed(notebook: nbformat.NotebookNode) -> str:
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            texts.append(
                output.get("text") or str(output.get("data", {}).get("text/plain"))
            )
    return "\n".join(texts)


def test_notebook_runs_with_any_bundle(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("RUBERT_OOD_EXAMPLE_BUNDLE", bundle.uri)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources=place
    ).execute()
    printed = _printed(notebook)
    assert "5 classes, H = 32 in fp32" in printed
    assert "complete - 360 of 360 rows agree" in printed
    assert "report.html True" in printed
    kinds = {
        kind
        for cell in notebook.cells
        for o in cell.get("outputs", [])
        for kind in o.get("data", ())
    }
    assert "image/png" in kinds


def test_notebook_is_kept_with_the_output_of_every_cell_in_order():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    silent = [number for number, cell in enumerate(cells) if not cell.outputs]
    assert silent == [0]  # the imports
    assert "360 of 360 rows agree" in _printed(notebook)


@pytest.mark.parametrize(
    "path", ["/tmp/", "/home/", "/root/", "/work/", "site-packages", "Warning"]
)
def test_notebook_holds_no_path_of_a_machine(path):
    assert path not in NOTEBOOK.read_text("utf-8")
