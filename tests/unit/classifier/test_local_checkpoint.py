"""A folder is taken as it is, a name of the hub too; what S3 holds is tested in tests/s3."""

import pytest

from rubert_ood.classifier.local_checkpoint import local_checkpoint
from rubert_ood.errors import BundleError


@pytest.mark.parametrize("uri", ["/nope/bert", "./nope/bert", "~/nope/bert"])
def test_path_that_does_not_exist_is_not_taken_for_a_name_of_the_hub(uri: str) -> None:
    with pytest.raises(BundleError, match=f"^{uri}: this folder does not exist. Use"):
        local_checkpoint(uri)


def test_folder_and_name_of_the_hub_stay_as_they_are(tmp_path) -> None:
    for uri in (str(tmp_path), "somebody/model"):
        assert local_checkpoint(uri) == uri
