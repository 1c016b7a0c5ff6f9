"""Push a bundle to the Hugging Face hub."""

from dataclasses import dataclass

from rubert_ood import terminal
from rubert_ood.plain import count_of, printable_lines
from rubert_ood.pointers.champion import open_bundle
from rubert_ood.progress import StepLog
from rubert_ood.settings import PushSettings
from rubert_ood.settings.problems import expect
from rubert_ood.sharing.content import PAGE, Content, content_of
from rubert_ood.sharing.page import page_of
from rubert_ood.sharing.repository import Repository
from rubert_ood.storage.hub import SCHEME

log = StepLog("push")


@dataclass(frozen=True)
class Pushed:
    """A bundle as the hub has it."""

    uri: str
    """hf://OWNER/NAME@COMMIT, which `score` takes as bundle_uri; "" after a dry run."""
    fingerprint: str
    """Of the bundle, the same there as here."""


def push(settings: PushSettings) -> Pushed:
    """Check every file of the bundle and commit all of them; print where they are then."""
    expect(settings, PushSettings)
    bundle = open_bundle(settings.bundle_uri, settings.require_signature)
    page = page_of(bundle, settings.repo_id, settings.license)
    content = content_of(bundle, page)
    if settings.license is None:
        log.warning("the page states no license. Add --license to state one")
    if settings.dry_run:
        _show(content, page)
        log.info("nothing was sent to %s (dry_run)", settings.repo_id)
        return Pushed("", content.fingerprint)
    repository = Repository(settings.repo_id, settings.revision)
    found = repository.prepared(public=settings.public)
    log.info(
        "sends %s, %s bytes, to %s",
        count_of(len(content.files), "file"),
        f"{content.size:,}",
        settings.repo_id,
    )
    commit = repository.replace(found, content, settings.message or _message(content))
    uri = f"{SCHEME}{settings.repo_id}@{commit}"
    if commit == found.commit:
        log.info("changes nothing: the repository holds this bundle already")
    log.info("%s  fingerprint %s", uri, content.fingerprint)
    return Pushed(uri, content.fingerprint)


def _message(content: Content) -> str:
    return f"Bundle {content.version}, fingerprint {content.fingerprint[:12]}"


def _show(content: Content, page: str) -> None:
    """Print what a commit would hold, and the page as it would be."""
    for file in content.files:
        terminal.show(f"{file.size:>15,}  {file.name}")
    terminal.show(f"{content.size:>15,}  bytes in {count_of(len(content.files), 'file')}")
    terminal.show(f"\n{PAGE}:\n\n{printable_lines(page)}")
