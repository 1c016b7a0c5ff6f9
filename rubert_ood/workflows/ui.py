"""Serve the page on which a person tries texts on a bundle, and looks ads up in a run."""

import os
import secrets

from rubert_ood import storage, terminal
from rubert_ood.bundle import Bundle, check_compute
from rubert_ood.errors import SettingsError
from rubert_ood.pointers.champion import open_bundle
from rubert_ood.predictor import Model
from rubert_ood.progress import StepLog
from rubert_ood.publishing.pointer import read_pointer
from rubert_ood.runs.manifest import manifest_uri
from rubert_ood.settings import UiSettings
from rubert_ood.ui.runs_search import RunSearch

log = StepLog("ui")

TOKEN_VARIABLE = "RUBERT_OOD_UI_TOKEN"
TOKEN_BYTES = 32
MIN_TOKEN_CHARACTERS = 16
NEEDS_EXTRA = "ui: the page needs the extra `ui`: pip install 'rubert_ood[ui]'"


def ui(settings: UiSettings) -> None:
    """Serve the page until a signal comes. Raises SettingsError and BundleError before that."""
    try:
        from rubert_ood.ui import security, serve
        from rubert_ood.ui.nearest import NearestAds
        from rubert_ood.ui.server import make_app
        from rubert_ood.ui.state import State
        from rubert_ood.ui.uploads import MAX_BYTES
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise SettingsError(NEEDS_EXTRA) from error
    token = _token(is_open=not security.is_loopback(settings.host))
    bundle = open_bundle(settings.bundle_uri, settings.require_signature)
    compute = settings.compute
    check_compute(bundle, compute)
    run = _run(settings.run_uri, bundle) if settings.run_uri else None
    access = security.Access(
        host=settings.host,
        names=settings.server_names,
        token=token,
        max_bytes=MAX_BYTES,
    )
    with serve.listen(settings.host, settings.port) as listening:
        log.info("loading the network of bundle %s", bundle.version)
        model = Model(bundle, use_gpu=compute.use_gpu, token_budget=compute.token_budget)
        state = State(model.with_network(), NearestAds(bundle), run)
        log.info(
            "serves the page at the address below. Open it in a browser, and end it with Ctrl-C"
        )
        url = serve.address(listening, settings.host)
        terminal.show(f"{url}?token={token}" if token else url)
        serve.serve(make_app(state, access), listening)


def _token(*, is_open: bool) -> str | None:
    """Return the token that visitors must know; None where only this machine reaches the page."""
    given = os.environ.get(TOKEN_VARIABLE, "")
    if given and len(given) < MIN_TOKEN_CHARACTERS:
        raise SettingsError(
            f"{TOKEN_VARIABLE}: the token has few characters. Use at least"
            f" {MIN_TOKEN_CHARACTERS} characters, or unset it for a new one"
        )
    if given and not given.isascii():
        raise SettingsError(
            f"{TOKEN_VARIABLE}: the token is not ASCII. Use letters and digits"
        )
    if given or not is_open:
        return given or None
    return secrets.token_urlsafe(TOKEN_BYTES)


def _run(uri: str, bundle: Bundle) -> RunSearch:
    """Open a run that was scored with the bundle; SettingsError for another one."""
    uri = storage.absolute(uri)
    pointer = None if storage.exists(manifest_uri(uri)) else read_pointer(uri)
    run = RunSearch(storage.join(uri, pointer.path) if pointer else uri)
    scored_with = run.manifest.bundle
    if scored_with.fingerprint != bundle.fingerprint:
        raise SettingsError(
            f"run_uri: this run was scored with bundle {scored_with.version},"
            f" not with {bundle.version}. Pass --bundle_uri {scored_with.uri}"
        )
    return run
