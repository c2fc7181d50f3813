"""What no single type can say: ranges and combinations, checked before anything is computed."""

from __future__ import annotations

import math
from pathlib import Path

from mia_lab.config.build import is_multi_image
from mia_lab.config.checks import at_least, is_trained_by_us, one_of
from mia_lab.config.choices import Assignment, Protocol, QueryMode, ReferencePool, Task, Until
from mia_lab.config.schema import Config, Data, Trainer
from mia_lab.config.validate_tasks import CHECKS
from mia_lab.errors import UserError

ACCELERATORS = ("auto", "cpu", "gpu")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
STRATEGIES = ("auto", "ddp")


def validate(config: Config) -> None:
    """Refuse configurations that cannot work.

    Raises:
        UserError: naming the key, and the choices or the remedy.
    """
    _check_data("data", config.data)
    _check_manifest(config)
    if config.task in CHECKS:
        CHECKS[config.task](config)
    if config.task in (Task.audit, Task.score):
        _check_victim(config)
        _check_attacks(config)
    _check_task(config)
    if config.fail_if is not None:
        _check_gate(config, config.fail_if)
    _check_trainer(config.trainer)
    _check_devices(config)
    _check_copies(config)
    at_least(
        1, ("query.batch_size", config.query.batch_size), ("query.repeats", config.query.repeats)
    )
    _check_reference(config)
    _check_evaluation(config)


def _check_data(key: str, data: Data) -> None:
    """Of the victim's images, or of those that only reference victims see."""
    one_of(f"{key}.source", data.source, data.sources)
    at_least(16, (f"{key}.image_size", data.image_size))
    if data.n_auxiliary is not None:
        at_least(0, (f"{key}.n_auxiliary", data.n_auxiliary))
    for number in ("n_members", "n_nonmembers"):
        if (count := getattr(data, number)) is not None:
            at_least(1, (f"{key}.{number}", count))
    if data.source != "folder":
        return
    if data.root is None:
        raise UserError(
            f"{key}.source=folder: where? Set MIA_LAB_DATA to the folder that holds "
            f"{data.name}/, or give {key}.root=DIR"
        )
    if not Path(data.root).is_dir():
        raise UserError(f"{key}.root={data.root}: no such folder")


def _check_victim(config: Config) -> None:
    data = config.data
    trained = is_trained_by_us(config.victim)
    if not trained and data.protocol is Protocol.resplit:
        raise UserError(
            f"data.protocol=resplit draws new members, but victim={config.victim.get('name')} is "
            "trained already; use data.protocol=official, or data.protocol=manifest with a CSV"
        )
    if config.query.mode is QueryMode.train and not trained and "mode" not in config.victim:
        raise UserError(
            f"query.mode=train: victim={config.victim.get('name')} has no such mode; "
            "use query.mode=eval"
        )


def _check_manifest(config: Config) -> None:
    data = config.data
    if (data.protocol is Protocol.manifest) != (data.manifest is not None):
        raise UserError(
            f"data.protocol={data.protocol.value} with data.manifest={data.manifest}: "
            "give both data.protocol=manifest and data.manifest=FILE.csv, or neither"
        )


def _check_evaluation(config: Config) -> None:
    data, asked = config.data, config.evaluation
    # With fewer, no p-value could be below 0.05.
    at_least(20, ("evaluation.permutations", asked.permutations))
    if not 0 <= asked.delta < 1:
        raise UserError(f"evaluation.delta={asked.delta}: must lie in [0, 1), such as 1e-5")
    coins = data.assignment is Assignment.bernoulli
    if coins and (data.protocol is not Protocol.resplit or data.group_by is not None):
        raise UserError(
            "data.assignment=bernoulli: flips a coin for each image, which takes "
            "data.protocol=resplit and no data.group_by"
        )
    if asked.guesses is not None:
        at_least(2, ("evaluation.guesses", asked.guesses))
        if not coins:
            raise UserError(
                f"evaluation.guesses={asked.guesses}: a bound of epsilon holds where each member "
                "was drawn by a coin of its own; set data.assignment=bernoulli"
            )


def _check_attacks(config: Config) -> None:
    attack = config.attack
    if not attack.names:
        raise UserError("attack.names=[]: name at least one attack, such as [reconstruction]")
    for name in attack.names:
        one_of("attack.names", name, attack.available)
    if len(set(attack.names)) < len(attack.names):
        raise UserError(f"attack.names={attack.names}: names an attack twice")
    if not math.isfinite(attack.alpha):
        raise UserError(f"attack.alpha={attack.alpha}: must be a finite number, such as 0.5")


def _check_task(config: Config) -> None:
    alphas = config.difficulty.get("grid", {}).get("alpha", [])
    for alpha in alphas:
        if not math.isfinite(alpha):
            raise UserError(f"difficulty.grid.alpha={alphas}: give finite numbers, such as [0.5,1]")
    asked = any(config.difficulty.get("grid", {}).values())
    if config.task is Task.audit and asked and "membership" not in config.attack.names:
        raise UserError(
            f"difficulty.grid evaluates the membership attack, which attack.names="
            f"{config.attack.names} leaves out; add membership, or drop the grid"
        )
    if config.task is Task.difficulty:
        if is_multi_image(config):
            raise UserError(
                "difficulty=multi_image: is the error of reference victims, which task=difficulty "
                "does not train; run an audit"
            )
        if alphas:
            raise UserError(
                f"difficulty.grid.alpha={alphas} weighs the difficulty in an attack, and "
                "task=difficulty attacks nothing; leave it out"
            )
        if config.until is not None:
            raise UserError(
                f"until={config.until.value} stops an audit, and task=difficulty has one stage; "
                "leave it out"
            )


def _check_gate(config: Config, condition: str) -> None:
    other_task = None if config.task is Task.audit else config.task
    for key, value in (("task", other_task), ("until", config.until)):
        if value is not None:
            raise UserError(
                f"fail_if={condition}: judges a whole audit, and {key}={value.value} is none; "
                "leave one of them out"
            )
    # Here, because it takes time: scipy comes with it.
    from mia_lab.evaluation.gate import check
    from mia_lab.evaluation.summary import summary_names

    is_defended = config.defense["_target_"] is not None
    names = summary_names(
        config.attack.names,
        bounded=config.evaluation.guesses is not None,
        files=config.data.source != "procedural",
        useful=is_defended if (asked := config.evaluation.utility) is None else asked,
    )
    check(condition, names)


def _check_trainer(trainer: Trainer) -> None:
    one_of("trainer.accelerator", trainer.accelerator, ACCELERATORS)
    one_of("trainer.precision", trainer.precision, PRECISIONS)
    one_of("trainer.strategy", trainer.strategy, STRATEGIES)
    at_least(1, ("trainer.threads", trainer.threads), ("trainer.devices", trainer.devices))
    if trainer.workers is not None:
        at_least(0, ("trainer.workers", trainer.workers))
    at_least(0, ("trainer.checkpoint_every_s", trainer.checkpoint_every_s))
    if trainer.devices > 1 and trainer.strategy != "ddp":
        raise UserError(f"trainer.devices={trainer.devices}: more than one needs trainer=ddp")


def _check_copies(config: Config) -> None:
    """Victims of ours are told what data and query say; elsewhere it must not be said otherwise."""
    victim = config.victim
    if not str(victim.get("_target_")).startswith("mia_lab."):
        return
    said = {
        "mode": ("query.mode", config.query.mode.value),
        "image_size": ("data.image_size", config.data.image_size),
        "input_encoding": ("data.input_encoding", config.data.input_encoding.value),
    }
    for key, (source, value) in said.items():
        if victim.get(key, value) != value:
            raise UserError(f"victim.{key}={victim[key]}: follows {source}={value}; set that")


def _check_reference(config: Config) -> None:
    asked = config.reference
    at_least(2, ("reference.count", asked.count))
    if asked.count % 2:
        raise UserError(
            f"reference.count={asked.count}: reference victims come in pairs, trained on "
            "complementary halves; give an even number"
        )
    if asked.only is not None and not 0 <= asked.only < asked.count:
        raise UserError(
            f"reference.only={asked.only}: there are reference.count={asked.count}, from 0"
        )
    if asked.only is not None and config.until is not Until.references:
        raise UserError(
            f"reference.only={asked.only}: trains one reference victim, and no attack can do with "
            "one; add until=references"
        )
    if asked.data is not None:
        _check_data("reference.data", asked.data)
        if asked.pool is not ReferencePool.auxiliary:
            raise UserError(
                f"reference.pool={asked.pool.value}: is not drawn from where reference.data gives "
                "other images; leave one of them out"
            )
    if asked.victim is not None and not is_trained_by_us(asked.victim):
        raise UserError(
            f"reference.victim={asked.victim.get('name')}: cannot be trained; choose pix2pix, say"
        )


def _check_devices(config: Config) -> None:
    devices, batch_size = config.trainer.devices, config.victim.get("batch_size", 0)
    if is_trained_by_us(config.victim) and batch_size % devices:
        raise UserError(
            f"trainer.devices={devices}: cannot divide victim.batch_size={batch_size} into equal "
            "parts; change either"
        )
