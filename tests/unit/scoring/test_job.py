import dataclasses
import pickle

import pytest

from rubert_ood.errors import BundleError
from rubert_ood.runs.night_sample import sample_limit
from rubert_ood.runs.plan import BundleName
from rubert_ood.scoring.job import ScoringJob


def test_scoring_job_of_a_plan_leaves_its_lists_behind_and_keeps_the_rest(full_run):
    plan = full_run.plan
    job = ScoringJob.of(plan, "token")
    lists = {"shards", "quarantined", "empty_files"}
    for field in dataclasses.fields(plan):
        value = getattr(job.plan, field.name)
        assert value == ([] if field.name in lists else getattr(plan, field.name))
    assert job.claim == "token"
    assert job.sample_limit == sample_limit(plan.num_rows) > 0
    assert len(plan.shards) == 12
    assert pickle.loads(pickle.dumps(job)) == job


def test_scoring_job_model_has_the_token_budget_of_the_plan_and_no_network_yet(full_run):
    model = ScoringJob.of(full_run.plan).model()
    assert model.token_budget == full_run.plan.token_budget == 500
    assert model.bundle.fingerprint == full_run.plan.bundle.fingerprint
    assert model._classifier is None


def test_scoring_job_has_one_reading_model_in_a_process_and_a_scoring_model_each(
    full_run,
):
    one, other = ScoringJob.of(full_run.plan), ScoringJob.of(full_run.plan, "other start")
    assert one.reading_model() is other.reading_model()
    assert one.model() is not one.model()
    assert one.model().bundle is other.reading_model().bundle


def test_scoring_job_of_a_bundle_of_another_fingerprint_is_refused(full_run):
    name = BundleName(uri=full_run.plan.bundle.uri, fingerprint="0" * 64)
    job = ScoringJob.of(dataclasses.replace(full_run.plan, bundle=name))
    for make in (job.model, job.reading_model):
        with pytest.raises(BundleError):
            make()
