"""Promote the bundle of a training at its end, by the settings of the training."""

from rubert_ood.ads.sources import list_tables
from rubert_ood.bundle import Bundle
from rubert_ood.errors import RubertOodError
from rubert_ood.pointers.champion import Champion
from rubert_ood.progress import StepLog
from rubert_ood.ray_session import TASK_RETRIES, ray_session
from rubert_ood.settings import ComputeSettings, PromoteSettings, TrainSettings
from rubert_ood.workflows.promote import promote

log = StepLog("promote")

ON_A_GPU = {"num_gpus": 1}
"""What the task of a promotion asks Ray for."""


def check_promotion(settings: TrainSettings) -> None:
    """Look for the ads of the promotion before hours of training; InputError without some."""
    wanted = settings.promotion
    for uri in (wanted.test_uri or settings.test_uri, wanted.sample_uri):
        if settings.promote and uri:
            list_tables(uri)


def promote_trained(bundle: Bundle, settings: TrainSettings) -> Champion:
    """Compare the bundle with the champion, where there is such hardware as it was fitted for.

    Raises PublicationRefusedError where the limits are not kept; the bundle stays.
    """
    wanted = _promote_settings(bundle, settings)
    if not wanted.compute.use_gpu:
        return promote(wanted)
    with ray_session(settings):
        champion = _on_a_gpu(wanted)
    log.info("the champion is now %s, by %s", champion.version, champion.promotion)
    return champion


def _promote_settings(bundle: Bundle, settings: TrainSettings) -> PromoteSettings:
    """Return the settings of the promotion; they have been checked, so no source is read again."""
    wanted, compute = settings.promotion, settings.compute
    use_gpu = compute.use_gpu and bundle.precision != "int8"
    return PromoteSettings.model_construct(
        bundle_uri=bundle.uri,
        test_uri=wanted.test_uri or settings.test_uri or "",
        sample_uri=wanted.sample_uri,
        sample_ads=wanted.sample_ads,
        columns=settings.columns,
        compute=ComputeSettings(use_gpu=use_gpu, token_budget=compute.token_budget),
        evaluation=settings.evaluation,
        limits=wanted.limits,
    )


def _on_a_gpu(wanted: PromoteSettings) -> Champion:
    """Promote in one Ray task, because the driver's node often lacks a GPU."""
    import ray
    from ray.exceptions import RayTaskError

    task = ray.remote(**ON_A_GPU, **TASK_RETRIES)(promote)
    try:
        champion: Champion = ray.get(task.remote(wanted))
    except RayTaskError as error:
        if isinstance(error.cause, RubertOodError):
            raise error.cause from error
        raise
    return champion
