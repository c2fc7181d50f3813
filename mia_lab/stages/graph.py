"""The stages of a run, connected as its configuration asks. Nothing is computed here.

The key of a victim depends on its members and not on the non-members; the key of a difficulty
depends on no victim. So a changed setting repeats only what depends on it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mia_lab.attacks.needs import Given, Needs, needs_of
from mia_lab.config import build, kinds
from mia_lab.config.choices import Assignment, Protocol, ReferencePool, Task, Until
from mia_lab.config.schema import Config
from mia_lab.data.dataset import PairDataset
from mia_lab.errors import UserError
from mia_lab.evaluation.results import Knowledge, leading
from mia_lab.hardware import resolve_precision
from mia_lab.parameters import width_height
from mia_lab.stages.adjustment import AdjustmentStage
from mia_lab.stages.altered import AlteredStage
from mia_lab.stages.attack import AttackInputs, AttackScores
from mia_lab.stages.blind import BlindStage
from mia_lab.stages.correspondence import CorrespondenceStage
from mia_lab.stages.decisions import DecisionsStage
from mia_lab.stages.determinism import determinism_stage
from mia_lab.stages.difficulty import (
    BATCH_SIZE,
    DifficultyStage,
    MultiImageDifficulty,
    ProbeDifficulty,
    WholeImageDifficultyStage,
)
from mia_lab.stages.features import FeaturesStage
from mia_lab.stages.images import RunImages, SourceReader, run_images
from mia_lab.stages.inference import InferenceStage, check_collections
from mia_lab.stages.joined import JoinedDifficulty
from mia_lab.stages.pooled import PooledStage
from mia_lab.stages.probe import Probe
from mia_lab.stages.reconstructions import Querying, ReconstructionsStage
from mia_lab.stages.references import ReferenceTraining, reference_component, reference_training
from mia_lab.stages.split import SplitStage
from mia_lab.stages.utility import UtilityStage
from mia_lab.stages.verdict import VerdictStage
from mia_lab.stages.victim import ForeignVictim, TrainedVictim, VictimStage
from mia_lab.store import Stage
from mia_lab.types import ADAPTIVE
from mia_lab.victims.settings import TrainingSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunStages:
    """The stages of a run, in the order of the data flow.

    Attributes:
        images: what they are about.
        split: roles of the images.
        victim: the model under audit.
        reconstructions: its answers.
        attack: everything that attacks read.
        verdict: what a run ends in; None if it stops earlier.
    """

    images: RunImages
    split: SplitStage
    victim: VictimStage
    reconstructions: ReconstructionsStage
    attack: AttackInputs
    verdict: VerdictStage | DecisionsStage | InferenceStage | None

    def goals(self, until: Until | None) -> tuple[Stage[Any], ...]:
        """The stages that a run computes, with all that they read.

        Args:
            until: the last one; None: the verdict.
        """
        attack = self.attack
        altered = [attack.altered] if attack.altered else []
        answers = [self.reconstructions, *attack.repeats, *altered]
        goals: Mapping[Until, list[Stage[Any]]] = {
            Until.split: [self.split],
            Until.victim: [self.split, self.victim],
            Until.reconstructions: [self.split, *answers],
            # Training reference models does not need the victim.
            Until.references: [self.split, *attack.references],
            Until.difficulty: [self.split, *answers, *attack.references, *attack.difficulty],
        }
        if until is None or until is Until.attacks:
            assert self.verdict is not None
            return (self.verdict,)
        return tuple(goals[until])


def run_stages(
    config: Config, read: SourceReader = build.source, *, resolve: bool = True
) -> RunStages:
    """The stages that a configuration asks for.

    Args:
        config: a validated configuration.
        read: gives the source of some data; the points of a sweep share sources.
        resolve: whether ``trainer.precision=auto`` becomes the precision of this machine. Stages
            with an unresolved precision have keys that do not depend on the machine.

    Raises:
        UserError: the data, the attacks or the reference models are not what it says.
    """
    images = run_images(config, read(config.data))
    return stages_of(config, images, read, resolve=resolve)


def stages_of(
    config: Config, images: RunImages, read: SourceReader = build.source, *, resolve: bool = True
) -> RunStages:
    """The stages of a run whose images are known; see :func:`run_stages`."""
    split = SplitStage(images)
    reconstructions = answers_stage(config, images, resolve=resolve)
    victim = reconstructions.victim
    ends_early = config.until in (Until.split, Until.victim, Until.reconstructions)
    if config.task is Task.export or ends_early:
        needs = build.needs(config) if config.until is Until.reconstructions else Needs()
        attack = AttackInputs(
            split=split,
            reconstructions=reconstructions,
            repeats=repeats_of(config, reconstructions),
            difficulty=(),
            pooled=None,
            altered=_altered(config, needs, reconstructions),
            references=(),
            reference_training=None,
            seed=config.seed,
        )
        return RunStages(images, split, victim, reconstructions, attack, None)
    training = _training(config, resolve)
    attack = _attack_inputs(config, images, split, reconstructions, training, read)
    verdict = None
    if config.until in (None, Until.attacks):
        _check_attacks(config, images, attack)
        verdict = _verdict(config, images, attack)
    return RunStages(images, split, victim, reconstructions, attack, verdict)


def answers_stage(
    config: Config, images: RunImages, *, resolve: bool = True
) -> ReconstructionsStage:
    """The answers of the model under audit; ``resolve`` as in :func:`run_stages`."""
    component = build.victim(config, _channels(images))
    if images.dataset.prompts and not kinds.takes_prompts(component):
        log.warning(
            "victim=%s takes no prompts, so that the column prompt of data.manifest is not read",
            component.name,
        )
    if kinds.is_trainable(component):
        training, members = _training(config, resolve), images.dataset.subset(images.members)
        trained = TrainedVictim(component, members, training, config.trainer.threads)
        return ReconstructionsStage(trained, images.scored, _querying(config, trained))
    foreign = ForeignVictim(component, images.scored)
    determinism = determinism_stage(foreign)
    return ReconstructionsStage(foreign, images.scored, _querying(config, foreign), determinism)


def repeats_of(
    config: Config, reconstructions: ReconstructionsStage
) -> tuple[ReconstructionsStage, ...]:
    """The further answers to the same images that ``query.repeats`` asks for.

    Raises:
        UserError: the victim is known to answer a repeated query alike.
    """
    count, victim, querying = config.query.repeats, reconstructions.victim, reconstructions.querying
    is_recorded = isinstance(victim, ForeignVictim) and victim.is_recorded
    varies = querying.is_random or (victim.is_random and not is_recorded)
    if count > 1 and not varies:
        raise UserError(
            f"query.repeats={count}: victim={victim.component.name} answers a repeated query "
            "alike; set query.repeats=1"
        )
    return tuple(replace(reconstructions, repeat=repeat) for repeat in range(1, count))


def queries_per_image(config: Config, needs: Needs) -> int:
    """How often an attacker queries a victim with one image.

    One who holds the model sends no query, and the attack adaptive no plain one.
    """
    if needs.denoiser:
        return 0
    plain = config.query.repeats if needs.answers else 1
    others = len([name for name in needs.altered if name != ADAPTIVE])
    averaged = needs.averaged if ADAPTIVE in needs.altered else 0
    return max(plain, averaged) + others


def difficulty_stages(config: Config, images: PairDataset) -> tuple[DifficultyStage, ...]:
    """The difficulties that need no reference model: one for each backbone and side.

    They are those of the part that ``difficulty.shard`` names. The configured one comes first.

    Raises:
        UserError: there are too few images for that many parts.
    """
    whole, shard = undivided_stages(config, images), build.shard(config)
    if shard is None:
        return whole
    component, batch_size = build.difficulty(config), BATCH_SIZE
    if not kinds.scores_images(component):
        batch_size = component.arguments.get("batch_size") or batch_size
    subsets = [images.subset(ids) for ids in shard.divided(images.ids, batch_size)]
    if shard.part is not None:
        return undivided_stages(config, subsets[shard.part - 1])
    parts = [undivided_stages(config, subset) for subset in subsets]
    return tuple(
        JoinedDifficulty(stage, of_parts)
        for stage, of_parts in zip(whole, zip(*parts, strict=True), strict=True)
    )


def undivided_stages(config: Config, images: PairDataset) -> tuple[DifficultyStage, ...]:
    """What :func:`difficulty_stages` gives for images that are scored at once."""
    component, backbone = build.difficulty(config), build.backbone(config)
    accelerator, seed = config.trainer.accelerator, config.seed
    if kinds.scores_images(component):
        network = backbone if kinds.needs_backbone(component) else None
        return (WholeImageDifficultyStage(images, component, network, accelerator, seed),)
    shard, keep_gb = build.shard(config), component.arguments.get("keep_gb")
    if shard is not None and keep_gb is not None:  # the parts share the room for features
        component = component.replace(keep_gb=keep_gb / shard.count)
    networks = {str(b.fingerprint()): b for b in (backbone, *build.grid_backbones(config))}
    stages: list[DifficultyStage] = []
    for network in networks.values():
        for side in build.grid_sides(config):
            # Error maps are those of the configured setting.
            more = {"maps": False} if stages else {}
            chosen = component.replace(features_from=side, **more)
            probe = Probe(chosen, network, accelerator)
            stages.append(ProbeDifficulty(FeaturesStage(images, probe), seed))
    return tuple(stages)


def wants_utility(config: Config) -> bool:
    """Whether to measure how good the answers are; by default only with a defence."""
    asked = config.evaluation.utility
    return build.defense(config) is not None if asked is None else asked


def wants_adjustment(config: Config) -> bool:
    """Whether to adjust the attacks; by default where the members were not drawn at random."""
    asked = config.evaluation.adjust
    return config.data.protocol is not Protocol.resplit if asked is None else asked


def _channels(images: RunImages) -> build.Channels:
    return images.dataset.in_channels, images.dataset.out_channels


def _training(config: Config, resolve: bool) -> TrainingSettings:
    trainer, precision = config.trainer, config.trainer.precision
    return TrainingSettings(
        accelerator=trainer.accelerator,
        precision=resolve_precision(precision, trainer.accelerator) if resolve else precision,
        checkpoint_every_s=trainer.checkpoint_every_s,
        strategy=trainer.strategy,
        devices=trainer.devices,
        workers=trainer.workers,
        compile=trainer.compile,
    )


def _querying(config: Config, victim: VictimStage) -> Querying:
    epoch = victim.component.arguments.get("epoch") if isinstance(victim, TrainedVictim) else None
    is_last = epoch == victim.component.arguments.get("epochs")
    return Querying(
        mode=config.query.mode.value,
        batch_size=config.query.batch_size,
        seed=config.seed,
        accelerator=config.trainer.accelerator,
        epoch=None if is_last else epoch,
        defense=build.defense(config),
    )


def _altered(
    config: Config, needs: Needs, reconstructions: ReconstructionsStage
) -> AlteredStage | None:
    if not needs.altered:
        return None
    return AlteredStage(reconstructions, needs.altered, needs.averaged)


def _attack_inputs(
    config: Config,
    images: RunImages,
    split: SplitStage,
    reconstructions: ReconstructionsStage,
    settings: TrainingSettings,
    read: SourceReader,
) -> AttackInputs:
    needs = build.needs(config)
    training: ReferenceTraining | None = None
    answers: tuple[ReconstructionsStage, ...] = ()
    if needs.references or config.until is Until.references:
        training = reference_training(config, images, read)
        answers = _references(config, images, reconstructions, training, settings)
    difficulty: tuple[DifficultyStage, ...]
    component = build.difficulty(config)
    if kinds.needs_references(component):
        assert training is not None
        difficulty = (MultiImageDifficulty(component, answers, training),)
    else:
        difficulty = difficulty_stages(config, images.scored)
    accelerator = config.trainer.accelerator
    return AttackInputs(
        split=split,
        reconstructions=reconstructions,
        repeats=repeats_of(config, reconstructions),
        difficulty=difficulty,
        pooled=PooledStage(images.scored, build.backbone(config), accelerator),
        altered=_altered(config, needs, reconstructions),
        references=answers,
        reference_training=training,
        seed=config.seed,
    )


def _references(
    config: Config,
    images: RunImages,
    reconstructions: ReconstructionsStage,
    training: ReferenceTraining,
    settings: TrainingSettings,
) -> tuple[ReconstructionsStage, ...]:
    """The answers of the reference models, or of one of them with ``reference.only``."""
    querying = replace(reconstructions.querying, epoch=None, defense=None)
    stages = []
    for number, half in enumerate(training.members):
        if config.reference.only not in (None, number):
            continue
        trained = TrainedVictim(
            reference_component(config, _channels(images), number),
            training.pool.subset(half),
            settings,
            config.trainer.threads,
            description=f"reference model {number + 1} of {len(training.members)}",
        )
        stages.append(ReconstructionsStage(trained, images.scored, querying))
    return tuple(stages)


def _check_attacks(config: Config, images: RunImages, attack: AttackInputs) -> None:
    """Refuse attacks that lack something before anything is trained for them."""
    training = attack.reference_training
    count = config.reference.count if training else 0
    is_elsewhere = training is not None and training.is_elsewhere
    from_all = config.reference.pool is ReferencePool.all and not is_elsewhere
    given = Given(
        references=count,
        unseen=count if is_elsewhere else count // 2,
        seen=count // 2 if from_all else 0,
        auxiliaries=len(images.auxiliaries),
        shortest_side=min(width_height(config.data.image_size)),
        answers=config.query.repeats,
        denoiser=kinds.has_denoiser(attack.reconstructions.victim.component),
    )
    for name, component in build.attacks(config).items():
        needs = needs_of(component.kind, component.arguments)
        remedy = f"set query.repeats={max(4, needs.answers)}, for a victim that answers at random"
        given.enough(f"attack {name}", "answers", needs.answers, remedy)
        if needs.check is not None:
            needs.check(given, **component.arguments)
    if wants_utility(config) and config.task is Task.audit and len(images.nonmembers) < 2:
        raise UserError(
            "evaluation.utility: takes two non-members at least; raise data.n_nonmembers, or set "
            "evaluation.utility=false"
        )


def _verdict(
    config: Config, images: RunImages, attack: AttackInputs
) -> VerdictStage | DecisionsStage | InferenceStage:
    attacks = build.attacks(config)
    scores = AttackScores.of(attacks, attack)
    correspondence = CorrespondenceStage(attack.reconstructions, images.scored)
    if config.task is Task.score:
        return DecisionsStage(scores, correspondence, config.score.fpr)
    pooled = attack.pooled
    assert pooled is not None
    if config.task is Task.dataset_inference:
        asked = config.dataset_inference
        check_collections(images, config.evaluation.permutations)
        return InferenceStage(
            scores=scores,
            pooled=pooled,
            correspondence=correspondence,
            attack=asked.attack or leading(attacks),
            by=asked.by,
            seed=config.seed,
            permutations=config.evaluation.permutations,
        )
    blind = BlindStage(attack.split, pooled, config.seed, config.evaluation.permutations)
    utility = None
    if wants_utility(config):
        nonmembers = images.dataset.subset(images.nonmembers)
        utility = UtilityStage(attack.reconstructions, pooled, nonmembers)
    adjustment = None
    if wants_adjustment(config):
        adjustment = AdjustmentStage(scores, pooled, config.seed)
    return VerdictStage(
        scores=scores,
        blind=blind,
        adjustment=adjustment,
        utility=utility,
        correspondence=correspondence,
        knowledge={name: _knowledge(config, attack, name) for name in attacks},
        alphas=tuple(build.grid_alphas(config)),
        fprs=tuple(config.evaluation.fprs),
        priors=tuple(config.evaluation.priors),
        guesses=config.evaluation.guesses,
        delta=config.evaluation.delta,
        no_bound=_no_bound(config),
        seed=config.seed,
    )


def _knowledge(config: Config, attack: AttackInputs, name: str) -> Knowledge:
    """What an attacker has to have; the difficulty counts where the attack reads it."""
    needs = build.needs(config, [name])
    trainings = config.reference.count if needs.references else 0
    training, victim = attack.reference_training, attack.reconstructions.victim
    images = len(training.pool) if training and trainings else 0
    if needs.auxiliaries:
        images = max(images, len(attack.split.images.auxiliaries))
    models = [answers.victim.component.name for answers in attack.references[:1]]
    architecture = (models or [victim.component.name])[0] if trainings else ""
    queries = queries_per_image(config, needs)
    return Knowledge(images, architecture, queries, trainings, needs.denoiser)


def _no_bound(config: Config) -> str:
    """Why no theorem bounds the privacy loss from below; "" where one does."""
    data = config.data
    if data.protocol is not Protocol.resplit:
        return "no valid bound: members were not drawn at random by this audit"
    if data.assignment is not Assignment.bernoulli:
        return (
            "no valid bound: a fixed number of members was drawn, and the theorems want a coin for "
            "each image (data.assignment=bernoulli)"
        )
    if config.evaluation.guesses is None:
        return "no valid bound: no number of guesses was asked for (evaluation.guesses)"
    return ""
