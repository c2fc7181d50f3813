"""An audit's result in sentences, and as the table of the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from mia_lab.data.splits import identical_pairs, in_two_roles
from mia_lab.evaluation import metrics
from mia_lab.evaluation.adjusted import NEEDED
from mia_lab.evaluation.blind import SOUND_BELOW
from mia_lab.evaluation.gate import SWAPPED, UNRELATED
from mia_lab.evaluation.metrics_file import best_point
from mia_lab.evaluation.results import (
    CORRESPONDING,
    FEWEST,
    Adjustment,
    AuditReport,
    AuditResult,
    Comparison,
    Correspondence,
    EpsilonBound,
    Estimate,
    Evaluation,
    GridPoint,
    Knowledge,
    Overfitting,
    Utility,
    Verdict,
)
from mia_lab.reporting.counts import Counts
from mia_lab.reporting.numbers import (
    NOT_RESOLVABLE,
    aligned,
    column_widths,
    interval,
    p_text,
    p_value,
)
from mia_lab.types import VICTIM, Split

CONFOUNDED = (
    "This split is confounded: members and non-members differ by themselves, so the AUC of an "
    "attack does not measure membership alone."
)

NAMED = 3
"""Most sets of identical pairs, and most images of each, that a sentence names."""

HEADLINE_ATTACKS = 4
"""Most attacks that the headline names."""


def verdict(audit: AuditReport) -> str:
    """The answer in a few sentences: can members be told, by which attack, can it be believed."""
    return f"{headline(audit.result)} {details(audit)}"


def headline(result: AuditResult) -> str:
    """The first sentence to read: that the split is confounded, or else what the attacks find."""
    return CONFOUNDED if result.blind.verdict is Verdict.CONFOUNDED else finding(result)


def details(audit: AuditReport) -> str:
    """What follows the headline."""
    related = audit.result.correspondence
    unrelated = [] if related.holds else [correspondence_sentence(related)]
    return " ".join([*unrelated, _beliefs(audit)])


def _beliefs(audit: AuditReport) -> str:
    result = audit.result
    if result.blind.verdict is not Verdict.CONFOUNDED:
        return belief(audit)
    attacks = f"Measured on this split: {_aucs(_by_auc(result))}."
    return " ".join(filter(None, (belief(audit), attacks, _wrong_direction(result))))


def finding(result: AuditResult) -> str:
    """Can members be told from non-members, by which attack, in which direction, how well."""
    attacks, reversed_ones = _by_auc(result), _reversed(result)
    if reversed_ones and not any(e.is_separating for e in attacks):
        told = "Members are told from non-members in the wrong direction"
        return f"{told}: {_aucs(reversed_ones)}. {_wrong_direction(result)}"
    can = "can be told" if attacks[0].is_separating else "could not be told reliably"
    sentence = f"Members {can} from non-members: {_aucs(attacks)}."
    return " ".join(filter(None, (sentence, _wrong_direction(result))))


def _by_auc(result: AuditResult) -> list[Evaluation]:
    return sorted(result.evaluations, key=lambda e: (not e.is_separating, -e.auc))


def _reversed(result: AuditResult) -> list[Evaluation]:
    """Attacks whose AUC is significantly below 0.5, the lowest first."""
    return sorted((e for e in result.evaluations if e.is_reversed), key=lambda e: e.auc)


def _wrong_direction(result: AuditResult) -> str:
    """What an AUC below 0.5 may come from; "" where there is none."""
    names = ", ".join(e.name for e in _reversed(result))
    return f"The AUC of {names} is significantly below 0.5: {SWAPPED}" if names else ""


def _aucs(attacks: Sequence[Evaluation]) -> str:
    """The first attacks, each in a few words."""
    found = [
        f"{e.name} attack AUC {interval(e.auc, e.auc_ci95)}" for e in attacks[:HEADLINE_ATTACKS]
    ]
    if len(attacks) > HEADLINE_ATTACKS:
        more = len(attacks) - HEADLINE_ATTACKS
        found.append(f"{more} other{'s' if more > 1 else ''} below")
    return ", ".join(found)


def belief(audit: AuditReport) -> str:
    """Whether the finding is about the victim: what attacks find that never see it."""
    result, blind = audit.result, audit.result.blind
    shown = next((e.auc for e in blind.baselines if e.name == blind.best), blind.max)
    side = " reversed," if shown < 0.5 < blind.max else ""
    best = f"the best, {blind.best},{side} has AUC {blind.max:.3f}, {p_text(blind.p_value)}"
    if blind.verdict is Verdict.CONFOUNDED:
        return (
            f"Attacks that never see the victim tell them apart ({best}). {_beyond(result.excess)}"
        )
    if blind.verdict is Verdict.SOUND:
        return (
            "The split is sound: attacks that never see the victim stay below AUC "
            f"{SOUND_BELOW:.2f} ({best}; 95 % upper bound {blind.upper95:.3f})."
        )
    return (
        f"Whether the split is fair is undecidable with {Counts.of(audit.split)}: attacks that "
        f"never see the victim found no difference ({best}), but could have missed one up to AUC "
        f"{blind.upper95:.2f}."
    )


def _beyond(excess: Sequence[Comparison]) -> str:
    """What the attacks find beyond the best blind baseline."""
    gains = ", ".join(f"{c.first} {interval(c.difference, c.ci95, '+')}" for c in excess)
    if any(c.ci95[0] > 0 for c in excess):
        return f"Excess of the attacks over that baseline: {gains}."
    return f"No attack exceeds that baseline (AUC difference: {gains})."


def identical_sentence(split: Split) -> str:
    """Which images are counted several times; "" where none is."""
    sets = identical_pairs(split)
    if not sets:
        return ""
    are = "pair is" if len(sets) == 1 else "pairs are"
    return (
        f"{len(sets)} {are} in the data several times under other names ({_equal(sets)}). "
        "Intervals count each copy as an independent image, so they are too narrow: remove the "
        "copies, or make each set one group (data.group_by, or the column group of data.manifest)."
    )


def duplicates(split: Split, dropped: Sequence[str] = ()) -> tuple[str, ...]:
    """What became of identical pairs, in sentences.

    Args:
        split: the roles.
        dropped: ids of the images that were left out.
    """
    found = [identical_sentence(split)]
    rows = split.model == VICTIM
    ids, content, role = (c[rows].tolist() for c in (split.id, split.content, split.role))
    hashes, roles = dict(zip(ids, content, strict=True)), dict(zip(ids, role, strict=True))
    if sets := in_two_roles(hashes, roles):
        have = "pair has" if len(sets) == 1 else "pairs have"
        found.append(
            f"{len(sets)} {have} several roles ({_equal(sets)}), kept by data.duplicates=keep. No "
            "attack can tell such copies apart."
        )
    if dropped:
        named = ", ".join(_first(dropped, f"and {len(dropped) - NAMED} more"))
        found.append(
            f"{len(dropped)} images were left out by data.duplicates=drop, because an identical "
            f"pair has another role ({named})."
        )
    return tuple(filter(None, found))


def _equal(sets: Sequence[Sequence[str]]) -> str:
    """Sets of identical images, the first ones."""
    shown = [" = ".join(_first(ids, "...")) for ids in sets]
    return "; ".join(_first(shown, f"and {len(sets) - NAMED} more"))


def _first(texts: Sequence[str], rest: str) -> list[str]:
    """The first of some texts, and one text for the rest of them."""
    return [*texts[:NAMED], *([rest] if len(texts) > NAMED else [])]


def comparison_sentence(c: Comparison) -> str:
    """One paired comparison in words."""
    difference = interval(c.difference, c.ci95, sign="+")
    return f"{c.first} minus {c.second}: AUC difference {difference}, {p_text(c.p_value)}"


def text_table(audit: AuditReport) -> str:
    """The attacks with their intervals as aligned plain text, for the terminal."""
    result = audit.result
    lines = _ruled(table_rows(result))
    counts = Counts.of(audit.split)
    lines.insert(0, f"{counts.members}, {counts.nonmembers}")
    lines += [comparison_sentence(c) for c in result.comparisons]
    lines += [correspondence_sentence(result.correspondence)]
    lines += [utility_sentence(result.utility)] if result.utility else []
    lines += [claim_sentence(result)] if result.claim else []
    lines += [epsilon_sentence([attack], bound) for attack, bound in best_bounds(result)]
    lines += [headline(result), details(audit)]
    lines += [adjustment_sentence(result.adjustment)] if result.adjustment else []
    lines += [grid_sentence(result.grid)] if result.grid else []
    return "\n".join(lines)


def table_rows(result: AuditResult) -> list[list[str]]:
    """The attacks and the blind baselines as rows of texts, below a header."""
    header = ["attack", *_headings(result), "excess over blind"]
    excess = {c.first: interval(c.difference, c.ci95, "+") for c in result.excess}
    rows = [[*_cells(e, e.name), excess.get(e.name, "")] for e in result.evaluations]
    rows += [[*_cells(e, f"{e.name} (blind)"), ""] for e in result.blind.baselines]
    if needs := knowledge_by_attack(result):
        header.append("the attacker needs")
        rows = [[*row, words] for row, words in zip_longest(rows, needs.values(), fillvalue="")]
    return [header, *rows]


def knowledge_by_attack(result: AuditResult) -> dict[str, str]:
    """What each attacker needs, by attack; empty if all attackers need one query only."""
    words = {e.name: knowledge(result.knowledge[e.name]) for e in result.evaluations}
    return words if set(words.values()) != {"1 query"} else {}


def knowledge(needs: Knowledge) -> str:
    """What an attacker needs, in a few words: ``1 query, 100 images, 8 trainings``."""
    counted = (
        (needs.queries, "query", "queries"),
        (needs.images, "image", "images"),
        (needs.trainings, "training", "trainings"),
    )
    words = ["the model itself"] if needs.model else []
    words += [f"{n} {one if n == 1 else many}" for n, one, many in counted if n]
    return ", ".join(words) + (f" of {needs.architecture}" if needs.architecture else "")


def utility_sentence(found: Utility) -> str:
    """How good the victim's answers are."""
    return (
        f"Utility, on {found.n} non-members: L1 error {found.l1:.4f}, SSIM {found.ssim:.3f}, "
        f"Frechet distance {found.frechet:.0f}."
    )


def adjustment_sentence(found: Adjustment) -> str:
    """The adjusted AUCs, or why there are none."""
    if not found.is_adjustable:
        why = "no overlap" if found.outside > found.effective_size else "too few images"
        return (
            f"Not adjustable, {why}: members and non-members that the blind baselines cannot "
            f"tell apart are worth {found.effective_size:.0f} + {found.effective_size:.0f} images, "
            f"and {NEEDED} + {NEEDED} are needed."
        )
    attacks = ", ".join(
        f"{name} {_area(of.adjusted)} (matched {_area(of.matched)})"
        for name, of in found.attacks.items()
    )
    return f"AUC adjusted for what these baselines see: {attacks}. {matching_sentence(found)}"


def matching_sentence(found: Adjustment) -> str:
    """How many images the adjustment rests on, and whether the baselines tell these apart."""
    blind = found.blind
    assert blind is not None
    left_out = f", {found.outside} of the members left out" if found.outside else ""
    measured = f"the best, {blind.best}, has AUC {blind.max:.3f}, {p_text(blind.p_value)}"
    tell = (
        f"Fitted to the pairs, blind baselines still tell them apart ({measured}), so the adjusted "
        "AUCs cannot be believed either."
        if blind.differs
        else f"Fitted to the pairs, blind baselines find no difference ({measured})."
    )
    size = f"effective size {found.effective_size:.0f}"
    return (
        f"{found.pairs} matched pairs ({size}{left_out}). {tell} "
        "Differences that these baselines do not see remain."
    )


def _area(found: Estimate | None) -> str:
    return "not measured" if found is None else interval(found.value, found.ci95)


def correspondence_sentence(found: Correspondence) -> str:
    """Whether the answers belong to their targets."""
    measured = (
        f"on average {100 * found.share:.1f} % of other images' targets are farther from an answer "
        f"than its own target (chance 50 %, threshold {100 * CORRESPONDING:.0f} %; {found.n} "
        f"images, {p_text(found.p_value)})"
    )
    if found.is_reversed:
        return (
            "The direction may be reversed (data.direction; of arrays, swap inputs and targets): "
            f"the victim translates {found.nearer_reversed} of {found.asked_reversed} images "
            f"better from target to input than from input to target; {measured}."
        )
    if not found.is_decidable:
        return (
            f"{found.n} images are too few to decide whether the answers belong to their targets; "
            f"at least {FEWEST} are needed."
        )
    if found.holds:
        return f"The answers belong to their targets: {measured}."
    return f"The answers do not belong to their targets: {measured}; {UNRELATED}"


def overfitting_sentence(found: Overfitting) -> str:
    """How far the errors of members and of non-members have parted at the end of the training."""
    last = found.means[-1]
    members, nonmembers = last.members, last.nonmembers
    return (
        f"After epoch {last.epoch} the mean reconstruction error is "
        f"{interval(members.value, members.ci95)} for {found.n_members} members and "
        f"{interval(nonmembers.value, nonmembers.ci95)} for {found.n_nonmembers} non-members."
    )


def claim_sentence(result: AuditResult) -> str:
    """What the training guarantees, beside what the audit shows."""
    claim = result.claim
    assert claim is not None
    bounds = [quality.epsilon.approximate_dp for quality in result.decisions.values()]
    best = max(bounds, key=lambda bound: bound.value or 0.0)
    shown = (
        "the audit gives no lower bound (see evaluation.guesses)"
        if best.value is None
        else f"the audit shows that epsilon is at least {best.value:.3f} at delta {best.delta:g}"
    )
    return (
        f"The training guarantees epsilon {claim.epsilon:g} at delta {claim.delta:g} (noise "
        f"{claim.noise_multiplier:.3g}, {claim.steps} steps at sampling rate "
        f"{claim.sampling_rate:.3g}); {shown}."
    )


def epsilon_sentence(attacks: Sequence[str], bound: EpsilonBound) -> str:
    """What the guesses of some attacks reject, or why they reject nothing."""
    names = " and ".join(attacks)
    if bound.value is None:
        return f"For {names} there is {bound.why}."
    rejected = (
        f"rejected for any epsilon below {bound.value:.3f} at delta {bound.delta:g}"
        if bound.value > 0
        else f"not rejected for any epsilon at delta {bound.delta:g}"
    )
    return (
        f"{names}: with 95 % confidence, the hypothesis that {bound.hypothesis} is {rejected}; "
        f"{bound.correct} of {bound.guesses} guesses are correct."
    )


def best_bounds(result: AuditResult) -> list[tuple[str, EpsilonBound]]:
    """The highest bound under each hypothesis, with its attack; empty where there is none."""
    found: dict[str, tuple[str, EpsilonBound]] = {}
    for attack, quality in result.decisions.items():
        for name, bound in quality.epsilon.by_hypothesis.items():
            if bound.value is None:
                continue
            if name not in found or bound.value > (found[name][1].value or 0.0):
                found[name] = (attack, bound)
    return [*found.values()]


def grid_sentence(grid: Sequence[GridPoint]) -> str:
    """The best of the grid's points, named for what it is."""
    best = grid[best_point(grid)]
    configured = grid[0]
    return (
        f"The best of {len(grid)} settings of the difficulty for the membership attack, chosen in "
        f"hindsight, has AUC {interval(best.auc, best.auc_ci95)}: layers {best.layers}, ridge "
        f"{best.ridge}, alpha {best.alpha:g}, features of {best.features_from}. The configured "
        f"setting has AUC {interval(configured.auc, configured.auc_ci95)}"
    )


def _cells(e: Evaluation, name: str) -> list[str]:
    """Name and metrics, one cell per column of :func:`_headings`."""
    cells = [name]
    for metric in _in_terminal():
        parts = metric.parts(e.metrics.get(metric.name))
        cells += [_cell(found, metric.shown_as) for found in parts.values()]
    return cells


def _headings(result: AuditResult) -> list[str]:
    fprs = result.evaluations[0].tpr_at_fpr
    return [heading for metric in _in_terminal() for heading in metric.headings(fprs)]


def _in_terminal() -> list[metrics.Metric]:
    return [metric for metric in metrics.METRICS if "terminal" in metric.tables]


def _cell(found: float | Estimate | None, shown_as: str) -> str:
    if found is None:
        return NOT_RESOLVABLE
    value = found.value if isinstance(found, Estimate) else found
    if shown_as == "percentage":
        return f"{100 * value:.1f} %"
    if shown_as == "p-value":
        return p_value(value)
    return interval(value, found.ci95) if isinstance(found, Estimate) else f"{value:.3f}"


def _ruled(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned, with a rule under the header."""
    lines = aligned(rows)
    lines.insert(1, "  ".join("-" * width for width in column_widths(rows)))
    return lines
