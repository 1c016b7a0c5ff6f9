"""The demo's training set, as the generator makes it."""

import pyarrow as pa
import pytest

from rubert_ood.synthetic.catalogue import generate_ads


@pytest.fixture(scope="module")
def training_set() -> pa.Table:
    return pa.Table.from_batches(generate_ads(10_000, seed=42, balanced=True))


@pytest.fixture(scope="module")
def texts(training_set: pa.Table) -> list[str]:
    titles, bodies = (
        training_set["title"].to_pylist(),
        training_set["description"].to_pylist(),
    )
    return [f"{title} {body}" for title, body in zip(titles, bodies, strict=True)]
