from __future__ import annotations

import dataclasses

from mia_lab.reporting import text_table, verdict
from mia_lab.reporting.text import p_text, percent, rate


def test_table_is_aligned(result):
    counts, header, rule, *rows = text_table(result).splitlines()
    assert counts == "40 members, 40 non-members"
    assert header.startswith("attack")
    assert {len(line) for line in (header, rule, *rows[:3])} == {len(rule)}
    assert rows[1].split()[0] == "membership"
    assert f"{result.evaluations[1].auc:.3f}" in rows[1]
    assert "not resolvable" in rows[1]
    assert rows[2].startswith("difficulty alone (blind)")
    assert rows[3].startswith("membership minus reconstruction: AUC difference +")


def test_verdict_leads_with_the_stronger_attack(result):
    text = verdict(result)
    assert text.startswith("Members can be told from non-members: membership attack AUC")
    assert "which is compatible with chance" in text


def test_verdict_warns_of_a_confound(result):
    blind = dataclasses.replace(result.blind[0], auc=0.3, auc_ci95=(0.2, 0.4))
    text = verdict(dataclasses.replace(result, blind=(blind,)))
    assert "0.300 [0.200, 0.400], which differs from chance" in text


def test_verdict_admits_failure(result):
    weak = tuple(
        dataclasses.replace(e, auc=0.52, auc_ci95=(0.45, 0.59)) for e in result.evaluations
    )
    assert verdict(dataclasses.replace(result, evaluations=weak)).startswith(
        "Members could not be told reliably from non-members"
    )


def test_small_texts():
    assert rate(None) == "not resolvable"
    assert rate(0.155) == "15.5 %"
    assert percent("0.01") == "1 %"
    assert percent("0.001") == "0.1 %"
    assert p_text(0.0) == "p < 0.001"
    assert p_text(0.0421) == "p = 0.042"
