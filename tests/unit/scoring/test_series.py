"""The list of series, as Prometheus wants it."""

import re

from rubert_ood.scoring import series


def test_series_of_the_module_are_all_in_the_list_and_have_names_of_their_own():
    found = [one for one in vars(series).values() if isinstance(one, series.Series)]
    assert set(found) == set(series.ALL)
    assert len({one.name for one in series.ALL}) == len(series.ALL) == len(found)


def test_series_have_names_units_and_help():
    for one in series.ALL:
        assert re.fullmatch(r"rubert_ood_[a-z_]+", one.name)
        assert not one.name.endswith("_total")  # Prometheus adds it
        assert one.unit
        assert one.help.endswith(".")
        assert bool(one.boundaries) is (one.kind == "histogram")


def test_series_are_exported_with_the_prefix_of_ray_and_the_suffix_of_their_kind():
    assert series.TOKENS.exported == "ray_rubert_ood_scorer_tokens_total"
    assert series.ROWS_OOD.exported == "ray_rubert_ood_run_rows_ood"
    assert series.SHARD_SECONDS.exported == "ray_rubert_ood_shard_seconds_bucket"
