"""The condition under which a release shall not happen."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mia_lab.errors import UserError
from mia_lab.evaluation import compare_attacks, evaluate, judge_split
from mia_lab.evaluation.blind import excess
from mia_lab.evaluation.decision import hindsight
from mia_lab.evaluation.epsilon import one_run_bounds
from mia_lab.evaluation.gate import check, decide, parse, sentence
from mia_lab.evaluation.results import AuditResult, Correspondence, DecisionQuality
from mia_lab.evaluation.summary import BASELINES, summary, summary_names
from mia_lab.types import ScoreTable

NUMBERS = {"auc/membership": 0.6, "blind/difficulty": 0.4}


@pytest.mark.parametrize(
    ("condition", "parts"),
    [
        ("auc/membership > 0.6", ("auc/membership", ">", 0.6)),
        ("auc/membership>=.6", ("auc/membership", ">=", 0.6)),
        ("  blind/difficulty<1e-1 ", ("blind/difficulty", "<", 0.1)),
        ("difference/my attack <= -0.5", ("difference/my attack", "<=", -0.5)),
    ],
)
def test_conditions(condition: str, parts: tuple[str, str, float]) -> None:
    assert parse(condition) == parts


@pytest.mark.parametrize(
    "condition",
    [
        "", "auc/membership", "> 0.6", "auc/membership > ", "auc/membership = 0.6",
        "auc/membership == 0.6", "auc/membership => 0.6", "auc/membership > much",
        "auc/membership > nan", "auc/membership > inf", "auc/membership > 0.6 or 1",
        "0.5 < auc/membership < 0.6",
    ],
)  # fmt: skip
def test_what_is_no_condition(condition: str) -> None:
    with pytest.raises(UserError, match=r"write fail_if='auc/membership > 0.6'") as caught:
        parse(condition)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("condition", "failed", "words"),
    [
        ("auc/membership > 0.59", True, "auc/membership = 0.6 > 0.59"),
        ("auc/membership > 0.6", False, "auc/membership = 0.6, not > 0.6"),
        ("auc/membership >= 0.6", True, "auc/membership = 0.6 >= 0.6"),
        ("auc/membership < 0.6", False, "auc/membership = 0.6, not < 0.6"),
        ("auc/membership <= 0.6", True, "auc/membership = 0.6 <= 0.6"),
        ("blind/difficulty < 0.5", True, "blind/difficulty = 0.4 < 0.5"),
    ],
)
def test_outcomes(condition: str, failed: bool, words: str) -> None:
    gate = decide(condition, NUMBERS)
    assert gate.failed is failed
    assert gate.outcomes[0].value == NUMBERS[parse(condition)[0]]
    assert sentence(gate) == words


@pytest.mark.parametrize(
    ("fail_if", "failed", "words"),
    [
        (
            "auc/membership > 0.9 or blind/difficulty > 0.9",
            False,
            "auc/membership = 0.6, not > 0.9; blind/difficulty = 0.4, not > 0.9",
        ),
        ("auc/membership > 0.5 or blind/difficulty > 0.9", True, "auc/membership = 0.6 > 0.5"),
        (
            "auc/membership > 0.9  or auc/membership > 0.5 or blind/difficulty > 0.3",
            True,
            "auc/membership = 0.6 > 0.5; blind/difficulty = 0.4 > 0.3",
        ),
    ],
)
def test_one_of_several_conditions_is_enough(fail_if: str, failed: bool, words: str) -> None:
    check(fail_if, [*NUMBERS])
    gate = decide(fail_if, NUMBERS)
    assert (gate.condition, gate.failed, sentence(gate)) == (fail_if, failed, words)
    assert [o.value for o in gate.outcomes][:2] == [0.6, gate.outcomes[1].value]


@pytest.mark.parametrize(
    ("fail_if", "said"),
    [
        ("auc/membership > 0.6 or", "join several conditions by or"),
        ("auc/membership > 0.6 and b > 1", "joins conditions by and, .* join them by or$"),
        ("auc/membership > 0.6 && b > 1", "joins conditions by and, .* join them by or$"),
    ],
)
def test_conditions_are_joined_by_or(fail_if: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check(fail_if, [*NUMBERS])


def test_the_name_of_an_attack_may_contain_and() -> None:
    assert parse("auc/salt and pepper > 0.6")[0] == "auc/salt and pepper"


def test_every_condition_is_checked() -> None:
    with pytest.raises(UserError, match="this audit has no auc/membrship"):
        check("auc/membership > 0.6 or auc/membrship > 0.6", [*NUMBERS])


@pytest.mark.parametrize("sign", ["<", ">"])
def test_what_was_not_measured_fails(sign: str) -> None:
    gate = decide(f"tpr_at_fpr_0.01/membership {sign} 0.1", NUMBERS)
    assert (gate.outcomes[0].value, gate.failed) == (None, True)
    assert "cannot be decided, which counts as failed" in sentence(gate)


def test_unknown_metrics_are_refused_with_the_choices() -> None:
    names = summary_names(["reconstruction", "membership"], bounded=True, files=True)
    check("auc/membership > 0.6", names)
    with pytest.raises(UserError, match=r'no auc/membrship; .*; did you mean "auc/membership"'):
        check("auc/membrship > 0.6", names)
    with pytest.raises(UserError, match=r"no auc/lira; .*there are auc/reconstruction, "):
        check("auc/lira > 0.6", names)
    with pytest.raises(UserError, match="no epsilon/membership"):
        check("epsilon/membership > 1", summary_names(["membership"], bounded=False, files=True))
    with pytest.raises(UserError, match="no blind/file"):
        check("blind/file > 1", summary_names(["membership"], bounded=True, files=False))
    assert not [
        n
        for n in summary_names(["membership"], bounded=False, files=False)
        if n.startswith("difference")
    ]


@pytest.mark.parametrize(
    ("condition", "failed", "is_reversed"),
    [
        ("auc/membership > 0.6", True, True),
        ("auc/membership >= 0.6", True, True),
        ("tpr_at_fpr_0.1/membership > 0.3", True, True),
        ("auc/membership < 0.4", True, False),
        ("auc/membership < 0.01", False, False),
        ("auc/reconstruction > 0.6", False, False),
        ("auc/slightly > 0.6", False, False),
        ("auc/slightly > 0.51", True, True),
        ("tpr_at_fpr_0.1/slightly > 0.3", False, False),
        ("p_value/membership > 0.05", False, False),
        ("blind/max > 0.6", False, False),
    ],
)
def test_a_reversed_attack_passes_no_limit_from_above(
    condition: str, failed: bool, is_reversed: bool
) -> None:
    """Members that are told apart in the wrong direction are no all-clear."""
    measured = {
        **{"auc/membership": 0.02, "auc_ci95_high/membership": 0.06},
        **{"auc/reconstruction": 0.45, "auc_ci95_high/reconstruction": 0.55},
        **{"auc/slightly": 0.48, "auc_ci95_high/slightly": 0.499},
        **{"tpr_at_fpr_0.1/membership": 0.0, "tpr_at_fpr_0.1/slightly": 0.1},
        **{"blind/max": 0.52, "p_value/membership": 0.001},
    }
    gate = decide(condition, measured)
    assert (gate.failed, gate.outcomes[0].reversed) == (failed, is_reversed)
    assert ("are the roles swapped" in sentence(gate)) is is_reversed


@pytest.mark.parametrize(
    ("related", "failed"),
    [
        (Correspondence(64, 0.7, 0.001), False),
        (Correspondence(64, 0.56, 0.001), True),
        (Correspondence(64, 0.9, 0.02), True),
    ],
)
def test_nothing_passes_if_answers_do_not_belong_to_their_targets(
    related: Correspondence, failed: bool
) -> None:
    gate = decide("auc/membership > 0.9", NUMBERS, related)
    assert (gate.failed, gate.outcomes[0].unrelated) == (failed, failed)
    assert ("is data.direction reversed" in sentence(gate)) is failed
    both = decide("auc/membership > 0.5", NUMBERS, related)
    assert (both.failed, both.outcomes[0].unrelated) == (True, False)


@pytest.mark.parametrize("attacks", [("reconstruction", "membership"), ("membership",), ("own",)])
def test_the_choices_are_what_an_audit_measures(attacks: tuple[str, ...]) -> None:
    """With as many non-members as it takes to resolve every rate, and a bound of epsilon."""
    rng = np.random.default_rng(0)
    truth = np.arange(300) < 150
    ids = np.array([f"{i:03d}" for i in range(300)])
    tables = [ScoreTable(a, "victim", ids, rng.normal(size=300)) for a in attacks]
    base = [t for t in tables if t.attack == "reconstruction"]
    features = {name: rng.normal(size=(300, 3)) for name in BASELINES[1:]}
    blind = judge_split(rng.random(300), features, ids, truth, seed=0, permutations=20)
    result = AuditResult(
        scores=tuple(tables),
        difficulty=rng.random(300),
        alpha=0.5,
        evaluations=tuple(evaluate(t.attack, t.score, truth) for t in tables),
        normality=None,
        claim=None,
        utility=None,
        correspondence=Correspondence(64, 0.97, 0.001),
        knowledge={},
        decisions={
            t.attack: DecisionQuality(
                {}, hindsight(t.score, truth), None, one_run_bounds(t.score, truth, 20, 1e-5)
            )
            for t in tables
        },
        comparisons=tuple(compare_attacks(t, b, truth) for b in base for t in tables if t is not b),
        blind=blind,
        excess=tuple(excess(t, blind, truth) for t in tables),
        slices=(),
        alpha_curve=None,
        near_duplicates=(),
        grid=(),
    )
    assert sorted(summary(result)) == sorted(summary_names(attacks, bounded=True, files=True))


@pytest.mark.parametrize(
    "condition",
    ["auc/membership > 60", "advantage/membership > 2", "blind/max > -1", "excess/membership < -2"],
)
def test_limits_that_no_audit_reaches_are_refused(condition: str) -> None:
    names = summary_names(["membership"], bounded=True, files=True)
    with pytest.raises(UserError, match=r"lies between .* and 1; write 0\.6 for 60 %"):
        check(condition, names)
    check("epsilon/membership > 8 or excess/membership > -0.5", names)


def test_rates_are_those_that_were_asked_for() -> None:
    names = summary_names(["membership"], bounded=False, files=False, fprs=(0.05,))
    check("tpr_at_fpr_0.05_ci95_low/membership > 0.2 or tpr_at_zero_fp/membership > 0", names)
    with pytest.raises(UserError, match=r"has no tpr_at_fpr_0\.01/membership; .*tpr_at_fpr_0\.05/"):
        check("tpr_at_fpr_0.01/membership > 0.2", names)


def test_conditions_are_checked_without_torch() -> None:
    """They are checked with the configuration, before anything is imported that takes seconds."""
    heavy = "{'torch', 'matplotlib'} & set(sys.modules)"
    code = f"import sys, mia_lab.evaluation.summary, mia_lab.evaluation.gate; assert not {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_limit_of_the_advantage_catches_swapped_roles() -> None:
    is_member = np.arange(60) < 30
    score = np.random.default_rng(0).normal(size=60) - 2.0 * is_member
    numbers = {"advantage/membership": evaluate("a", score, is_member).metrics["advantage"].value}
    assert "advantage/membership" in summary_names(["membership"], bounded=False, files=False)
    gate = decide("advantage/membership > 0.2", numbers)
    assert (gate.failed, gate.outcomes[0].reversed) == (True, False)
