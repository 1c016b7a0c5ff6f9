"""The settings of the page on which a person tries texts."""

from pydantic import Field

from rubert_ood.settings.base import SignedSettings
from rubert_ood.settings.shared import ComputeSettings


class UiSettings(SignedSettings):
    """Serve one page on which a person tries texts on a bundle, and looks ads up in a run. Nothing
    is written. Ctrl-C ends it."""

    bundle_uri: str = Field(min_length=1)
    """Bundle that answers."""
    run_uri: str | None = Field(None, min_length=1)
    """Run to look into: its folder OUTPUT/run_date=.../run_id=..., or OUTPUT for the published
    one. It must have been scored with the bundle."""
    host: str = Field("127.0.0.1", min_length=1)
    """Address to listen on. Beyond this machine the page asks for a token. It is the value of the
    variable RUBERT_OOD_UI_TOKEN, or a new one, which is printed."""
    port: int = Field(8765, ge=0, le=65_535)
    """Port to listen on (0: any free one)."""
    server_names: tuple[str, ...] = ()
    """Further host names under which the page is reached, as behind a proxy. Requests under any
    other name are refused."""
    compute: ComputeSettings = ComputeSettings()
