from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from audits import bounded, changed, with_auc
from mia_lab.evaluation.results import Estimate, Knowledge, Verdict
from mia_lab.reporting.audit.page import facts
from mia_lab.reporting.audit.words import (
    belief,
    correspondence_sentence,
    details,
    duplicates,
    finding,
    headline,
    identical_sentence,
    text_table,
    verdict,
)
from mia_lab.reporting.numbers import interval, p_text, percent, rate, rate_interval


def test_identical_pairs_are_named(audit):
    def sentence(*sizes):
        content = [f"{number}" for number, size in enumerate(sizes) for _ in range(size)]
        rest = [f"other {number}" for number in range(len(audit.split.id) - len(content))]
        split = dataclasses.replace(audit.split, content=np.array([*content, *rest]))
        return identical_sentence(split)

    assert sentence() == ""
    assert "1 pair is in the data several times under other names (facade-0000 = f" in sentence(2)
    assert "(facade-0000 = facade-0001 = facade-0002 = ...)" in sentence(5)
    assert sentence(2, 2, 2, 2, 2).startswith("5 pairs are in the data several times")
    assert "facade-0004 = facade-0005; and 2 more)" in sentence(2, 2, 2, 2, 2)


def test_pairs_with_several_roles_are_named(audit):
    assert duplicates(audit.split) == ()
    content, role = audit.split.content.copy(), audit.split.role.copy()
    content[:3] = content[0]
    role[:3] = ["member", "nonmember", "nonmember"]
    kept = dataclasses.replace(audit.split, content=content, role=role)
    copies, several = duplicates(kept)
    assert copies == identical_sentence(kept)
    assert several.startswith("1 pair has several roles (facade-0000 = facade-0001 = facade-0002)")
    (dropped,) = duplicates(audit.split, [f"train/{i}" for i in range(12)])
    assert dropped.startswith("12 images were left out by data.duplicates=drop")
    assert "(train/0, train/1, train/2, and 9 more)" in dropped


def test_table_is_aligned(audit, result):
    counts, header, rule, *rows = text_table(audit).splitlines()
    assert counts == "40 members, 40 non-members"
    assert header.startswith("attack")
    assert {len(line) for line in (header, rule, *rows[:2])} == {len(rule)}
    assert header.endswith("excess over blind")
    has = {**result.knowledge, "membership": Knowledge(100, "pix2pix", 16, 8)}
    _, header, _, *rows = text_table(changed(audit, knowledge=has)).splitlines()
    assert header.endswith("  the attacker needs")
    assert rows[0].endswith("  1 query")
    assert rows[1].endswith("  16 queries, 100 images, 8 trainings of pix2pix")
    assert rows[1].split()[0] == "membership"
    assert f"{result.evaluations[1].auc:.3f}" in rows[1]
    assert "not resolvable" in rows[1]
    assert rows[2].startswith("difficulty (blind)")
    assert rows[3].startswith("statistics (blind)")
    assert rows[4].startswith("membership minus reconstruction: AUC difference +")
    related = correspondence_sentence(result.correspondence)
    assert rows[5:] == [related, headline(result), details(audit)]


def test_the_terminal_names_the_highest_bound_under_each_hypothesis(audit, result):
    low, high = bounded(result, 0.5, 1.5), bounded(result, 0.75, 1.0)
    decisions = {"reconstruction": low["reconstruction"], "membership": high["membership"]}
    lines = text_table(changed(audit, decisions=decisions)).splitlines()
    approximate, gaussian = (line for line in lines if "hypothesis" in line)
    assert approximate.startswith("membership: with 95 % confidence, the hypothesis that the ")
    assert "is rejected for any epsilon below 0.750 at delta 1e-05" in approximate
    assert gaussian.startswith("reconstruction: ")
    assert "is rejected for any epsilon below 1.500 at delta 1e-05" in gaussian


def test_groups_are_counted_beside_the_images(audit, grouped_audit):
    assert text_table(grouped_audit).splitlines()[0] == (
        "40 members in 7 groups, 40 non-members in 7 groups"
    )
    blind = dataclasses.replace(grouped_audit.result.blind, verdict=Verdict.UNDECIDABLE)
    text = belief(changed(grouped_audit, blind=blind))
    assert "undecidable with 40 + 40 images in 7 + 7 groups: " in text
    *_, sizes = facts(grouped_audit)
    assert sizes.value == "40 + 40"
    assert sizes.words == "images: members and non-members, in 7 + 7 groups"
    *_, sizes = facts(audit)
    assert (sizes.value, sizes.words) == ("40 + 40", "images: members and non-members")


def test_verdict_leads_with_the_stronger_attack(audit):
    text = verdict(audit)
    assert text.startswith("Members can be told from non-members: membership attack AUC")
    assert text.endswith(belief(audit))


def test_the_verdict_on_a_confounded_split_leads(audit, result):
    """Not an AUC that the split explains."""
    blind = dataclasses.replace(result.blind, verdict=Verdict.CONFOUNDED)
    found = changed(audit, blind=blind)
    assert headline(found.result).startswith("This split is confounded: ")
    assert "can be told" not in verdict(found)
    assert verdict(found).count("This split is confounded") == 1
    best = result.evaluations[1]
    assert f"{best.name} attack AUC {interval(best.auc, best.auc_ci95)}" in details(found)


def test_members_told_in_the_wrong_direction(result):
    first, second = result.evaluations
    swapped = with_auc(first, 0.01, (0.0, 0.04)), with_auc(second, 0.2, (0.1, 0.3))
    text = finding(dataclasses.replace(result, evaluations=swapped))
    assert text.startswith("Members are told from non-members in the wrong direction: ")
    assert f"The AUC of {first.name}, {second.name} is significantly below 0.5: are the" in text
    mixed = with_auc(first, 0.01, (0.0, 0.04)), second
    text = finding(dataclasses.replace(result, evaluations=mixed))
    assert text.startswith("Members can be told from non-members: ")
    assert f"The AUC of {first.name} is significantly below 0.5: are the roles swapped" in text
    unsure = with_auc(first, 0.4, (0.2, 0.6)), with_auc(second, 0.4, (0.2, 0.5))
    assert "could not be told" in finding(dataclasses.replace(result, evaluations=unsure))


@pytest.mark.parametrize("said", Verdict)
def test_belief_says_what_the_blind_baselines_say(audit, result, said):
    blind = dataclasses.replace(
        result.blind, verdict=said, best="jpeg", max=0.71, p_value=0.0004, upper95=0.58
    )
    text = belief(changed(audit, blind=blind))
    assert "jpeg, has AUC 0.710, p < 0.001" in text
    gain = interval(result.excess[1].difference, result.excess[1].ci95, "+")
    expected = {
        Verdict.CONFOUNDED: f"baseline: reconstruction .*, membership {re.escape(gain)}",
        Verdict.SOUND: "The split is sound: .* stay below AUC 0.60 .*; 95 % upper bound 0.580",
        Verdict.UNDECIDABLE: r"undecidable with 40 \+ 40 images: .* missed one up to AUC 0.58",
    }
    assert re.search(expected[said], text)


def test_a_reversed_baseline_is_called_so(audit, result):
    first = with_auc(result.blind.baselines[0], 0.3, (0.2, 0.4))
    baselines = (first, *result.blind.baselines[1:])
    blind = dataclasses.replace(result.blind, baselines=baselines, best=first.name, max=0.7)
    text = belief(changed(audit, blind=blind))
    assert f"the best, {first.name}, reversed, has AUC 0.700" in text


def test_a_confounded_split_where_nothing_is_beyond_the_baseline(audit, result):
    blind = dataclasses.replace(result.blind, verdict=Verdict.CONFOUNDED)
    nothing = tuple(
        dataclasses.replace(c, difference=-0.467, ci95=(-0.6, 0.0)) for c in result.excess
    )
    text = belief(changed(audit, blind=blind, excess=nothing))
    assert "Excess of the attacks" not in text
    assert text.endswith(
        "No attack exceeds that baseline (AUC difference: reconstruction "
        "-0.467 [-0.600, +0.000], membership -0.467 [-0.600, +0.000])."
    )


def test_verdict_admits_failure(audit, result):
    weak = tuple(with_auc(e, 0.52, (0.45, 0.59)) for e in result.evaluations)
    assert verdict(changed(audit, evaluations=weak)).startswith(
        "Members could not be told reliably from non-members"
    )


def test_small_texts():
    assert rate(None) == "not resolvable"
    assert rate(Estimate(0.155, (0.1, 0.2))) == "15.5 %"
    assert rate_interval(Estimate(0.155, (0.1, 0.2)), 9) == "15.5 % [10.0, 20.0]"
    assert rate_interval(None, 106) == "not resolvable with 106 non-members"
    assert percent("0.01") == "1 %"
    assert percent("0.001") == "0.1 %"
    assert p_text(0.0) == "p < 0.001"
    assert p_text(0.0421) == "p = 0.042"
    assert p_text(0.99) == "p = 0.99"
    assert p_text(1.0) == "p > 0.99"


def test_membership_orders_the_images_of_a_report(result):
    """Whatever the order of the attacks; without it, the last one."""
    for scores in (result.scores, result.scores[::-1]):
        assert dataclasses.replace(result, scores=scores).leading.attack == "membership"
    first = dataclasses.replace(result, scores=result.scores[:1])
    assert first.leading.attack == "reconstruction"
