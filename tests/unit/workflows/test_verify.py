import json
import logging
from pathlib import Path

import pytest

from rubert_ood.errors import InputError, VerificationError
from rubert_ood.settings import GateSettings, PublishSettings, VerifySettings
from rubert_ood.workflows.publish import publish
from rubert_ood.workflows.verify import verify

OPEN = GateSettings(
    max_error_rate=1, max_ood_rate=1, max_other_rate=1, max_duplicate_rate=1
)


def _edit(run_uri: str, **counts: int) -> None:
    path = Path(run_uri, "_run", "manifest.json")
    content = json.loads(path.read_text())
    content["counts"] |= counts
    path.write_text(json.dumps(content))


def test_verify_of_a_run_as_it_was_written_says_how_much_it_read(place, full_run, caplog):
    caplog.set_level(logging.INFO)
    verify(VerifySettings(run_uri=place("r1")))
    rows = sum(receipt.rows_scored for receipt in full_run.receipts)
    assert (
        caplog.messages[-1]
        == f"verified  3 files of 12 parts, {rows} ads: all match their receipts"
    )


def test_verify_of_a_run_of_version_0_4_0_counts_its_parts(older_run, caplog):
    caplog.set_level(logging.INFO)
    verify(VerifySettings(run_uri=str(older_run.folder)))
    assert caplog.messages[-1].startswith("verified  12 parts, ")


def test_verify_of_a_published_run_finds_an_edited_manifest(place):
    run_uri = place("r1")
    manifest = publish(PublishSettings(run_uri=run_uri, gate=OPEN))
    verify(VerifySettings(run_uri=run_uri))
    _edit(run_uri, rows_ood=manifest.counts.rows_ood + 1)
    with pytest.raises(
        VerificationError,
        match=(
            r"manifest\.json: counts differs from what the receipts add up to\."
            " Restore the manifest"
        ),
    ):
        verify(VerifySettings(run_uri=run_uri))


@pytest.mark.parametrize("content", ["{", '{"format": 1}', None, "edited"])
def test_verify_of_a_published_run_whose_index_is_damaged_says_once_what_builds_it(
    place, content
):
    run_uri = place("r1")
    publish(PublishSettings(run_uri=run_uri, gate=OPEN))
    path = Path(run_uri, "_run", "reuse", "index.json")
    if content is None:
        path.unlink()
    else:
        edited = path.read_text("utf-8").replace('"texts": ', '"texts": 1')
        path.write_text(edited if content == "edited" else content, "utf-8")
    with pytest.raises(VerificationError, match=f"{path}: ") as error:
        verify(VerifySettings(run_uri=run_uri))
    assert str(error.value).count("to build the index again") == 1
    publish(PublishSettings(run_uri=run_uri, gate=OPEN))
    verify(VerifySettings(run_uri=run_uri))


def test_verify_of_a_run_whose_file_is_gone_names_it(place, full_run):
    run_uri = place("r1")
    name = full_run.files[1].name
    Path(run_uri, name).unlink()
    with pytest.raises(VerificationError, match=f"{name} is missing"):
        verify(VerifySettings(run_uri=run_uri))


def test_verify_of_a_folder_that_is_not_a_run_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="not the folder of a run"):
        verify(VerifySettings(run_uri=str(tmp_path)))
