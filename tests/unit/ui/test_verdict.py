"""The words of a decision name what decided it."""

import pytest

from rubert_ood.ui.flips import Choice, Numbers, outcome
from rubert_ood.ui.verdict import kind, sentence, steps


@pytest.fixture(scope="module")
def decide(fitted):
    """Decide on made-up numbers under the loose rule of the fixture: tau_other 0.36, gate 0.9."""

    def found(confidence: float, *, is_far: bool, **changed):
        limit = outcome(
            fitted, Numbers(labels=fitted.labels[:1], scores=[1], d2=1), Choice()
        ).d2_limit
        d2 = limit * (1.5 if is_far else 0.5)
        row = Numbers(labels=fitted.labels[:1], scores=[confidence], d2=d2)
        return outcome(fitted, row, Choice(**changed))

    return found


@pytest.mark.parametrize(
    ("confidence", "is_far", "expected", "answers"),
    [
        (0.5, True, "ood", [True, True]),
        (0.95, True, "class", [True, False, True]),
        (0.5, False, "class", [False, True]),
        (0.2, False, "unsure", [False, False]),
    ],
)
def test_steps_are_the_questions_up_to_the_one_that_decided(
    decide, confidence, is_far, expected, answers
):
    found = decide(confidence, is_far=is_far)
    asked = steps(found)
    assert kind(found) == expected
    assert [step.answer for step in asked] == answers
    assert [step.decides for step in asked] == [False] * (len(asked) - 1) + [True]
    assert f"{confidence:.1%} sure" in sentence(found)


def test_sentence_of_other_names_the_best_class(decide, fitted):
    for is_far in (True, False):
        assert fitted.labels[0] in sentence(decide(0.2, is_far=is_far))


def test_steps_show_the_numbers_that_are_compared(decide):
    found = decide(0.5, is_far=True)
    assert f"d2 {found.d2:,.1f} >" in steps(found)[0].fact
    assert steps(found)[1].fact == "confidence 50.00% < confidence gate 90.00%"
    near = decide(0.36, is_far=False)
    assert steps(near)[-1].fact == "confidence 36.00% ≥ tau_other 36.00%"


def test_steps_of_the_conformal_rule_compare_p(decide):
    found = decide(0.5, is_far=True, rule="conformal", conformal_alpha=0.5)
    assert steps(found)[0].fact == f"p {found.p:.4f} ≤ conformal_alpha 0.5"
