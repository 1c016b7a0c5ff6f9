"""The check of an address, with a real cluster behind it; those without one have a file of their
own, tests/integration/test_ray_address.py."""

import pytest
import ray

from rubert_ood.errors import SettingsError
from rubert_ood.ray_address import check_address


def test_the_address_of_a_cluster_is_accepted(ray_local) -> None:
    check_address(ray.get_runtime_context().gcs_address, "ray_address")


def test_another_port_of_a_cluster_is_refused_with_the_right_one(ray_local) -> None:
    (node,) = ray.nodes()
    address = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
    with pytest.raises(
        SettingsError,
        match=f"^ray_address: {address}: this port is not that of the",
    ):
        check_address(address, "ray_address")
