"""The settings of `push`."""

from pydantic import Field, model_validator

from rubert_ood.settings.base import SignedSettings

REPOSITORY = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$"


class PushSettings(SignedSettings):
    """Push a bundle to a repository of the Hugging Face hub, in one commit, with a page. The token
    comes from HF_TOKEN, or from `hf auth login`."""

    bundle_uri: str = Field(min_length=1)
    """Bundle to push (a folder, s3://, or BUNDLES/champion)."""
    repo_id: str = Field(pattern=REPOSITORY)
    """Repository, OWNER/NAME. It is created if missing. Files that are not of a bundle are never
    replaced."""
    public: bool = False
    """Let everybody read the repository. evaluation.html quotes some ads. Needs license."""
    license: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9.-]*$")
    """License for the page, as the hub abbreviates it, such as apache-2.0, mit or other. Default:
    none is stated."""
    revision: str = Field("main", min_length=1, max_length=255)
    """Branch to commit to. It is created if missing."""
    message: str | None = Field(None, min_length=1, max_length=200)
    """Message of the commit. Default: the version and the fingerprint of the bundle."""
    dry_run: bool = False
    """List the files and show the page. Nothing is sent."""

    @model_validator(mode="after")
    def _public_has_a_license(self) -> "PushSettings":
        if self.public and self.license is None:
            raise ValueError(
                "license: a public repository needs one. Add --license, such as"
                " apache-2.0, mit or other"
            )
        return self
