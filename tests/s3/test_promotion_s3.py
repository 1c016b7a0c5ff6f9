"""champion.json on S3: swapped by condition, resolved by a night, found by every process."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from rubert_ood import storage
from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.errors import PartialRunError, PublicationRefusedError
from rubert_ood.pointers.champion import look, name_of, open_bundle, roll_back
from rubert_ood.promotion.promote import judge, make_champion
from rubert_ood.settings import GateSettings, RollbackSettings, ScoreSettings
from rubert_ood.storage import folders
from rubert_ood.workflows.promote import promote
from rubert_ood.workflows.rollback import rollback
from rubert_ood.workflows.score import score
from tests.conftest import write_parquet
from tests.unit.promotion.bundles import OPEN, Pair, copied, make_pair
from tests.unit.promotion.test_limits import comparison


@pytest.fixture
def root(s3, tmp_path, monkeypatch, request) -> str:
    monkeypatch.setattr(folders, "CACHE_DIR", str(tmp_path / "cache"))
    return f"{s3}/{request.node.name}/bundles"


@pytest.fixture(scope="module")
def pair(bundle, ads, tmp_path_factory) -> Pair:
    return make_pair(bundle, ads, tmp_path_factory.mktemp("pair"))


def put(root: str, bundle: Bundle) -> Bundle:
    uri = f"{root}/{bundle.version}"
    folders.put_folder(bundle.folder, uri, last="manifest.json")
    return load_bundle(uri)


def test_promote_score_and_roll_back_on_s3(root, pair, ads):
    good, bad = put(root, pair.good), put(root, pair.bad)
    promote(pair.settings(good))
    no_loss = OPEN.model_copy(update={"max_accuracy_loss": 0.05})
    with pytest.raises(PublicationRefusedError, match="max_accuracy_loss"):
        promote(pair.settings(bad, limits=no_loss))
    promote(pair.settings(bad))
    output_uri = root.removesuffix("/bundles")
    write_parquet(f"{output_uri}/in/a.parquet", ads.slice(0, 40))
    night = ScoreSettings(
        input_uri=f"{output_uri}/in",
        bundle_uri=f"{root}/champion",
        output_uri=f"{output_uri}/out",
        run_date=date(2026, 11, 24),
        gate=GateSettings(max_ood_rate=1, max_other_rate=1),
        executor="local",
        publish=False,
        report_changes=False,
    )
    first = score(night)
    assert (first.bundle.uri, first.bundle.version) == (f"{root}/bad", "bad")
    place = RollbackSettings(output_uri=output_uri, bundles=True, reason="toys")
    assert rollback(place).version == "good"
    assert open_bundle(f"{root}/champion").fingerprint == good.fingerprint
    assert score(night).run_uri == first.run_uri  # it was begun with the other one
    page = look(root).pointer
    assert page.promotion is None
    assert page.rolled_back.reason == "toys"


def test_make_champion_of_many_at_once_on_s3_lets_one_win_each_time(root, pair, tmp_path):
    promote(pair.settings(put(root, pair.good)))
    rivals = []
    for number in range(4):
        rival = copied(pair.good, tmp_path / str(number), f"r{number}", noise=0.1)
        rivals.append(put(root, rival))
    compared = look(root).champion
    barrier, settings = threading.Barrier(4), pair.settings(pair.good)

    def attempt(bundle: Bundle) -> str:
        promotion = judge(bundle, compared, comparison(), settings)
        barrier.wait()
        try:
            return make_champion(root, promotion, "_promotions/x.json").version
        except PartialRunError:
            return ""

    with ThreadPoolExecutor(4) as pool:
        won = list(filter(None, pool.map(attempt, rivals)))
    assert len(won) == 1
    assert look(root).pointer.paths == [won[0], "good"]
    assert roll_back(root, "x")[0].version == "good"


def test_make_champion_on_s3_of_a_swap_that_comes_late_changes_nothing(root, pair):
    good, bad = put(root, pair.good), put(root, pair.bad)
    late = look(root)
    promote(pair.settings(good))
    before = storage.read_bytes(f"{root}/champion.json")
    data = storage.to_json(late.pointer_to(name_of(bad)))
    assert not storage.swap_bytes(late.uri, data, late.version)
    assert storage.read_bytes(f"{root}/champion.json") == before
