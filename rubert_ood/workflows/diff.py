"""Compare two runs ad by ad, or two bundles on the same ads.

How many labels changed, which, and of which ads.
"""

import sys

from rubert_ood import storage
from rubert_ood.bundle import load_bundle
from rubert_ood.bundle.evaluation import read_evaluation
from rubert_ood.bundle.files import MANIFEST
from rubert_ood.comparing.compare import compare_runs
from rubert_ood.comparing.document import DiffDocument
from rubert_ood.comparing.evaluations import compare_evaluations
from rubert_ood.errors import InputError, SettingsError
from rubert_ood.pointers.champion import resolve
from rubert_ood.pointers.registered import is_registered
from rubert_ood.progress import StepLog
from rubert_ood.publishing.pointer import POINTER_FILE, read_pointer
from rubert_ood.ray_session import ray_session
from rubert_ood.reports.documents import write_diff
from rubert_ood.runs.manifest import manifest_uri
from rubert_ood.settings import DiffSettings, GateSettings, ScoreSettings
from rubert_ood.settings.problems import expect
from rubert_ood.storage import hub
from rubert_ood.workflows.score import score

log = StepLog("diff")


def diff(settings: DiffSettings) -> DiffDocument:
    """Write diff.json and diff.html; return what is in them."""
    expect(settings, DiffSettings)
    a_uri, a_is_run = _recognised(settings.a_uri)
    b_uri, b_is_run = _recognised(settings.b_uri)
    if a_is_run != b_is_run:
        raise InputError(
            f"{settings.a_uri} and {settings.b_uri}: one is a run, the other"
            " is a bundle. Use two runs or two bundles"
        )
    if not a_is_run and not settings.input_uri:
        raise SettingsError(
            "input_uri: it is missing. Set it to the ads to compare the two bundles on"
        )
    if a_is_run and settings.input_uri:
        log.warning("input_uri: two runs are compared without it, so it has no effect")
    with ray_session(settings):
        if a_is_run:
            document = compare_runs(a_uri, b_uri, executor=settings.executor)
        else:
            document = _compare_bundles(a_uri, b_uri, settings)
    write_diff(document, settings.output_uri)
    return document


def _recognised(uri: str) -> tuple[str, bool]:
    """Return the run folder or the bundle that a URI means, and whether it is a run.

    InputError when it is neither.
    """
    if is_registered(uri) or hub.is_hub(uri):
        return resolve(uri).uri, False
    uri = storage.absolute(uri)
    if storage.exists(manifest_uri(uri)):
        return uri, True
    pointer = read_pointer(uri)
    if pointer is not None:
        return storage.join(uri, pointer.path), True
    bundle_uri = resolve(uri).uri
    if storage.exists(storage.join(bundle_uri, MANIFEST)):
        return bundle_uri, False
    raise InputError(
        f"{uri}: this is neither a run folder"
        " (OUTPUT/run_date=.../run_id=...), nor a published output"
        f" ({POINTER_FILE}), nor a bundle. Check the path"
    )


def _compare_bundles(a_uri: str, b_uri: str, settings: DiffSettings) -> DiffDocument:
    """Score the same ads with both bundles; compare the runs and the evaluations."""
    evaluations = []
    for name, uri in (("A", a_uri), ("B", b_uri)):
        bundle = load_bundle(uri)
        log.info("%s is the bundle %s", name, bundle.version)
        evaluations.append(read_evaluation(bundle))
    a_run = score(_score_settings(settings, a_uri, "a"))
    b_run = score(_score_settings(settings, b_uri, "b"))
    document = compare_runs(a_run.run_uri, b_run.run_uri, executor=settings.executor)
    return document.model_copy(update={"evaluations": compare_evaluations(*evaluations)})


def _score_settings(settings: DiffSettings, bundle_uri: str, name: str) -> ScoreSettings:
    shared = ("input_uri", "columns", "on_bad_file", "compute", "executor")
    nothing_refused = GateSettings(
        max_error_rate=1,
        max_quarantined_share=1,
        max_duplicate_rate=1,
        max_ignored_files=sys.maxsize,
        max_ood_rate=1,
        max_other_rate=1,
    )
    return ScoreSettings(
        config=None,
        bundle_uri=bundle_uri,
        output_uri=storage.join(settings.output_uri, name),
        publish=False,
        report_changes=False,
        reuse="never",
        gate=nothing_refused,
        **{name: getattr(settings, name) for name in shared},
    )
