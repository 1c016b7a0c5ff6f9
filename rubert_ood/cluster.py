"""Start or join Ray, quietly."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from rubert_ood.settings import RayJobSettings

log = logging.getLogger(__name__)


@contextmanager
def ray_session(settings: RayJobSettings) -> Iterator[None]:
    """Join the cluster of the settings, or start one on this machine; leave it at the end, if it was joined here.

    Worker output stays in Ray's own log folder: what a user must know comes back as results and errors.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the new behaviour; unset, Ray warns of it
    import ray
    import ray.data

    joined = not ray.is_initialized()
    if joined:
        ray.init(
            address=settings.ray_address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if settings.ray_address is None and "RAY_ADDRESS" not in os.environ else None,
        )
    ray.data.DataContext.get_current().enable_progress_bars = False
    for name in ("ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    resources = ray.cluster_resources()
    log.info(
        "ray       %d node(s), %g CPU, %g GPU",
        len([node for node in ray.nodes() if node["Alive"]]),
        resources.get("CPU", 0),
        resources.get("GPU", 0),
    )
    try:
        yield
    finally:
        if joined:
            ray.shutdown()
