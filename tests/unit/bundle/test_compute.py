"""A bundle is computed in the numbers that it was fitted in, on hardware that has them."""

import dataclasses

import pytest

from rubert_ood.bundle import check_compute
from rubert_ood.errors import SettingsError
from rubert_ood.settings import ComputeSettings


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_check_compute_takes_what_the_bundle_was_fitted_in(bundle, precision):
    fitted = dataclasses.replace(bundle, precision=precision)
    check_compute(fitted, ComputeSettings())
    check_compute(fitted, ComputeSettings(precision=precision))


def test_check_compute_of_other_numbers_names_setting_and_bundle(bundle):
    with pytest.raises(SettingsError) as caught:
        check_compute(bundle, ComputeSettings(precision="int8"))
    assert str(caught.value) == (
        "compute.precision: the bundle v1 was fitted in fp32 and scores only in"
        " that. Leave the setting out, or train with compute.precision int8"
    )


def test_check_compute_of_int8_on_gpu_is_refused(bundle):
    quantised = dataclasses.replace(bundle, precision="int8")
    with pytest.raises(
        SettingsError,
        match=(
            r"^compute\.use_gpu: .* in int8, which runs on CPU only\. Leave the"
            " setting out$"
        ),
    ):
        check_compute(quantised, ComputeSettings(use_gpu=True))
