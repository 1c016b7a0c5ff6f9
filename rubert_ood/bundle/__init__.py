"""Bundles: one folder is one model version, checked to the byte when it is loaded."""

from rubert_ood.bundle.bundle import (
    CHAMPION,
    CHAMPION_FILE,
    Bundle,
    BundleContent,
    bundles_folder,
    check_new,
    derive_bundle,
    load_bundle,
    load_calibration,
    load_reference,
    new_bundle_uri,
    version_name,
    write_bundle,
)
from rubert_ood.bundle.compute import check_compute

__all__ = [
    "CHAMPION",
    "CHAMPION_FILE",
    "Bundle",
    "BundleContent",
    "bundles_folder",
    "check_compute",
    "check_new",
    "derive_bundle",
    "load_bundle",
    "load_calibration",
    "load_reference",
    "new_bundle_uri",
    "version_name",
    "write_bundle",
]
