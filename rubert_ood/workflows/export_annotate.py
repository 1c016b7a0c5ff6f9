"""Pick ads of a scored run for people to label."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rubert_ood import storage
from rubert_ood.annotating.choose import candidates_of, choose
from rubert_ood.annotating.document import FILE, Export
from rubert_ood.annotating.label_studio import label_config, tasks_of
from rubert_ood.annotating.look import look, whole_run
from rubert_ood.annotating.made import make_export, new_name
from rubert_ood.annotating.mix import RANDOM, lacking, numbers
from rubert_ood.annotating.pools import Pools
from rubert_ood.annotating.register import Register
from rubert_ood.annotating.sheet import sheet
from rubert_ood.annotating.texts import read_texts
from rubert_ood.bundle import Bundle
from rubert_ood.errors import (
    InputError,
    OutputError,
    PartialRunError,
    RubertOodError,
    SettingsError,
)
from rubert_ood.plain import count_of
from rubert_ood.pointers.champion import open_bundle
from rubert_ood.progress import StepLog
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.plan import load_plan
from rubert_ood.settings import ExportAnnotateSettings
from rubert_ood.settings.problems import expect
from rubert_ood.storage.folders import remove_files

log = StepLog("export")

BEGUN = "_begun"
"""Created once in each export, so that two exports never share a folder."""
ATTEMPTS = 10
"""At the register, when other exports come first."""


def export_annotate(settings: ExportAnnotateSettings) -> Export:
    """Write the tasks of an export, and note in the register what it takes; return its record.

    Raises InputError where the run is not whole or has no ad left, or its input changed.
    """
    expect(settings, ExportAnnotateSettings)
    manifest = whole_run(settings.run_uri)
    bundle = _bundle(manifest, settings)
    output_uri = storage.absolute(settings.output_uri)
    name = settings.name or new_name()
    uri = storage.join(output_uri, name)
    if storage.exists(storage.join(uri, BEGUN)):
        raise _exists(uri)
    register = Register(output_uri).read()
    wanted = numbers(settings.num, settings.mix)
    pools = Pools.of(wanted, settings.seed)
    look(manifest, register, pools)
    rows = pools.candidates()
    if rows.empty:
        raise InputError(
            f"{manifest.run_uri}: every ad of this run is empty or was exported"
            " before. Use another run"
        )
    places = dict.fromkeys(zip(rows["ad_id"], rows["text_key"], strict=True))
    texts = read_texts(load_plan(manifest.run_uri), places, bundle.cleaner)
    candidates = candidates_of(pools, texts)
    with _taking_name(output_uri, name):
        for _ in range(ATTEMPTS):
            choice = choose(pools, candidates, register, wanted, settings.max_similarity)
            num_no_text = len(places) - len(candidates)
            export = make_export(name, manifest, bundle, pools, choice, num_no_text)
            if not choice.ads:
                raise InputError(
                    f"{manifest.run_uri}: no candidate is left that was not exported"
                    " before. Use another run"
                )
            _write(uri, export, settings)
            keys = [chosen.candidate.keys for chosen in choice.ads]
            if register.take(name, manifest.run_id, export.created_at, keys):
                _say(uri, export, wanted)
                return export
            log.info("another export was first, so this one chooses again")
            register.read()
        busy = "other exports keep coming first. Export again"
        raise PartialRunError(f"{output_uri}: {busy}")


@contextmanager
def _taking_name(output_uri: str, name: str) -> Iterator[None]:
    """Take the name of an export, and give it back where the export fails before it is noted."""
    uri = storage.join(output_uri, name)
    begun_uri = storage.join(uri, BEGUN)
    if not storage.create_bytes(begun_uri, new_name().encode()):
        raise _exists(uri)
    try:
        yield
    except (Exception, KeyboardInterrupt):
        with suppress(RubertOodError):
            if name not in Register(output_uri).read().exports:
                remove_files([begun_uri])
        raise


def _exists(uri: str) -> OutputError:
    return OutputError(f"{uri}: this export exists already. Choose another name")


def _bundle(manifest: Manifest, settings: ExportAnnotateSettings) -> Bundle:
    """Load the bundle of the run; SettingsError where another one lies there."""
    bundle = open_bundle(settings.bundle_uri or manifest.bundle.uri)
    if bundle.fingerprint != manifest.bundle.fingerprint:
        raise SettingsError(
            f"bundle_uri: {bundle.uri} is not the bundle of this run. Set it to"
            " where that bundle lies now"
        )
    return bundle


def _write(uri: str, export: Export, settings: ExportAnnotateSettings) -> None:
    """Put the files; the record is last."""
    config = label_config(export.labels, export.sub_labels)
    tasks = tasks_of(export, blind_control=settings.blind_control)
    storage.put_json(storage.join(uri, "tasks.json"), tasks)
    storage.put_bytes(storage.join(uri, "label_config.xml"), config.encode())
    storage.put_bytes(storage.join(uri, "tasks.csv"), sheet(export))
    storage.put_json(storage.join(uri, FILE), export)


def _say(uri: str, export: Export, wanted: dict[str, int]) -> None:
    taken = ", ".join(f"{kind} {number:,}" for kind, number in export.taken.items())
    tasks = count_of(len(export.tasks), "task")
    log.info(f"{tasks} of {count_of(export.num_rows, 'ad')}: {taken}")
    skipped = export.skipped
    log.info(
        f"skipped {skipped['seen_before']:,} as exported before,"
        f" {skipped['near_duplicates']:,} as near-duplicates,"
        f" {skipped['without_text']:,} without text"
    )
    if skipped["text_not_found"]:
        log.warning(
            "left out %s, whose text is not in the input of the run any more",
            count_of(skipped["text_not_found"], "candidate"),
        )
    num_wanted, num_taken = sum(wanted.values()), sum(export.taken.values())
    if num_taken < num_wanted:
        log.warning(f"the run has {num_taken:,} such ads, of {num_wanted:,} wanted")
    for kind, number in lacking(wanted, export.taken).items():
        log.info(f"{kind}: {count_of(number, 'ad')} fewer than its share")
    if export.taken.get(RANDOM, 0):
        ads = count_of(export.num_eligible, "ad")
        log.info(f"the random control stands for {ads} never exported before")
    log.info("%s", uri)
