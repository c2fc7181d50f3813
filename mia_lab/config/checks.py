"""Checks across settings, made before anything runs.

There is one function for each task, and one for each rule that several tasks share.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mia_lab.attacks.needs import needs_of
from mia_lab.config import build, kinds
from mia_lab.config.choices import (
    Assignment,
    CanaryAction,
    Duplicates,
    InputEncoding,
    Protocol,
    QueryMode,
    ReferencePool,
    StoreAction,
    Task,
    Until,
)
from mia_lab.config.component import Component
from mia_lab.config.run_folders import check_runs
from mia_lab.config.schema import CanaryTask, Config, Data
from mia_lab.config.signature import signature_of
from mia_lab.data.manifest import names_files
from mia_lab.errors import UserError, nearest, nearest_folder


def check(config: Config) -> None:
    """Refuse settings that cannot work, for the components that the task uses as well.

    Raises:
        UserError: naming the key, and the choices or the remedy.
    """
    if config.task is not Task.audit and config.until is not None:
        raise UserError(
            f"until={config.until.value} stops an audit, which task={config.task.value} does not "
            "run; leave it out"
        )
    if config.task is not Task.audit and config.fail_if is not None:
        raise UserError(
            f"fail_if={config.fail_if}: judges an audit, which task={config.task.value} does not "
            "run; leave it out"
        )
    TASKS[config.task](config)


def _check_audit(config: Config) -> None:
    _check_names(config)
    _check_rates(config)
    _check_assignment(config)
    _check_reference_count(config)
    _check_dataset(config)
    victim = _check_victim(config)
    _check_training(config, victim)
    build.attacks(config)
    if any(build.grid(config).model_dump().values()) and "membership" not in config.attack.names:
        raise UserError(
            f"difficulty.grid evaluates the membership attack, which attack.names="
            f"{config.attack.names} leaves out; add membership, or drop the grid"
        )
    _check_shard(config, _check_difficulty(config))
    _check_reference(config)
    if config.fail_if is not None:
        _check_fail_if(config, config.fail_if)


def _check_export(config: Config) -> None:
    _check_dataset(config)
    _check_training(config, _check_victim(config))
    if config.query.mode is QueryMode.train:
        raise UserError(
            "query.mode=train: exported programs answer in evaluation mode; use query.mode=eval"
        )


def _check_score(config: Config) -> None:
    if config.data.protocol is not Protocol.manifest:
        raise UserError(
            f"data.protocol={config.data.protocol.value}: task={config.task.value} needs the ids "
            "of candidates; give data.protocol=manifest and data.manifest=FILE.csv with a column id"
        )
    _check_names(config)
    _check_reference_count(config)
    _check_dataset(config)
    _check_existing_victim(config)
    build.attacks(config)
    if any(build.grid(config).model_dump().values()):
        raise UserError(
            "difficulty.grid compares settings by the roles of an audit, and "
            f"task={config.task.value} has no roles; leave it out"
        )
    _check_shard(config, _check_difficulty(config))
    _check_reference(config)


def _check_dataset_inference(config: Config) -> None:
    _check_score(config)
    difficulty = build.difficulty(config)
    if kinds.needs_references(difficulty) and config.reference.data is None:
        raise UserError(
            f"difficulty={difficulty.name}: is the error of reference victims that are trained on "
            "auxiliaries, which task=dataset_inference compares the collections with; give "
            "reference.data, or choose another difficulty"
        )
    tested = config.dataset_inference.attack
    if tested is not None and tested not in config.attack.names:
        raise UserError(
            f"dataset_inference.attack={tested}: must be one of attack.names="
            f"{config.attack.names}{nearest(tested, config.attack.names)}"
        )
    is_elsewhere = config.reference.data is not None
    for name, component in build.attacks(config).items():
        needs = needs_of(component.kind, component.arguments)
        if needs.auxiliaries or (needs.references and not is_elsewhere):
            raise UserError(
                f"attack.names={name}: is fitted on auxiliaries, which task=dataset_inference "
                "compares the collections with; leave it out"
                + (", or give reference.data" if needs.references else "")
            )


def _check_canary(config: Config) -> None:
    canary = config.canary
    given = [key for key in ("input", "target", "variants") if getattr(canary, key) is not None]
    if canary.action is CanaryAction.draw:
        _check_canary_draw(config)
        return
    if given:
        raise UserError(
            f"canary.{given[0]}={getattr(canary, given[0])}: is for canary.action=draw; leave it "
            "out"
        )
    if not canary.folders:
        raise UserError(
            "canary.folders=[]: which canaries? Give the folders that canary.action=draw wrote, "
            "canary.folders=[canary]"
        )
    _check_existing_victim(config)


def _check_canary_draw(config: Config) -> None:
    canary = config.canary
    if canary.folders:
        raise UserError(
            f"canary.folders={canary.folders}: is for canary.action=test; a canary is drawn into "
            "canary.folder"
        )
    if canary.k < FEWEST_TWINS:
        raise UserError(
            f"canary.k={canary.k}: the smallest p-value would be 1 / {canary.k + 1}, above 0.05; "
            f"use at least {FEWEST_TWINS}"
        )
    if Path(canary.folder).exists():
        raise UserError(
            f"canary.folder={canary.folder}: exists; a canary is never overwritten, name a new "
            "folder"
        )
    if config.data.value_range is not None:
        raise UserError(
            f"data.value_range={config.data.value_range}: canaries are pictures of 8 bits, whose "
            "range is known; leave it out"
        )
    if canary.variants is not None:
        _check_variants(canary, Path(canary.variants))
    elif (canary.input is None) != (canary.target is None):
        missing = "target" if canary.target is None else "input"
        raise UserError(
            f"canary.{missing}: give both canary.input=FILE and canary.target=FILE, or neither for "
            "a generated pair"
        )
    elif canary.input is None and config.data.source != "procedural":
        raise UserError(
            f"data.source={config.data.source}: which pair? Give canary.input=FILE and "
            "canary.target=FILE, or data.source=procedural for a generated pair"
        )


def _check_variants(canary: CanaryTask, folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"canary.variants={folder}: no such folder{nearest_folder(folder)}")
    if canary.target is not None:
        raise UserError(
            f"canary.target={canary.target}: canary.variants={folder} holds the targets; leave it "
            "out"
        )
    has_inputs = (folder / "input").is_dir()
    if has_inputs != (canary.input is None):
        raise UserError(
            f"canary.variants={folder}: "
            + (
                f"holds the inputs, in input/; leave out canary.input={canary.input}"
                if has_inputs
                else "give their common input, canary.input=FILE, or sub-folders input and target"
            )
        )


FEWEST_TWINS = 19
"""Fewest twins of a canary besides the published one, so that a p-value can be 0.05."""


def _check_difficulty_task(config: Config) -> None:
    build.shard(config)
    _check_dataset(config)
    difficulty = _check_difficulty(config)
    if kinds.needs_references(difficulty):
        raise UserError(
            f"difficulty={difficulty.name}: is the error of reference victims, which "
            "task=difficulty does not train; run an audit"
        )
    if alphas := build.grid(config).alpha:
        raise UserError(
            f"difficulty.grid.alpha={alphas} weighs the difficulty in an attack, and "
            "task=difficulty attacks nothing; leave it out"
        )


def _check_compare(config: Config) -> None:
    check_runs(config.compare.runs)


def _check_collect(config: Config) -> None:
    if not config.collect.dir:
        raise UserError(
            "collect.dir: which sweep? Give its folder, collect.dir=outputs/sweeps/NAME"
        )
    sweep = Path(config.collect.dir)
    if not sweep.is_dir():
        raise UserError(
            f"collect.dir={sweep}: no such folder; give that of a sweep{nearest_folder(sweep)}"
        )
    if not any(p.is_dir() and p.name.isdecimal() for p in sweep.iterdir()):
        raise UserError(
            f"collect.dir={sweep}: holds no points of a sweep, which are folders named 0, 1, ...; "
            "give the folder that -m has made below outputs/sweeps"
        )


def _check_store(config: Config) -> None:
    task = config.store
    pruning = task.action is StoreAction.prune
    if not pruning and (task.dry_run or task.max_gb is not None):
        raise UserError(
            f"store.action={task.action.value}: store.max_gb and store.dry_run are for pruning; "
            "use store.action=prune, or leave them out"
        )
    if pruning and (task.stage, task.state, task.older_than_days, task.max_gb) == (None,) * 4:
        raise UserError(
            "store.action=prune: say what, store.stage=victim, store.state=damaged, "
            "store.max_gb=50 or store.older_than_days=30 (0 for everything)"
        )


TASKS: dict[Task, Callable[[Config], None]] = {
    Task.audit: _check_audit,
    Task.check: _check_audit,
    Task.difficulty: _check_difficulty_task,
    Task.score: _check_score,
    Task.dataset_inference: _check_dataset_inference,
    Task.canary: _check_canary,
    Task.export: _check_export,
    Task.compare: _check_compare,
    Task.collect: _check_collect,
    Task.store: _check_store,
}


# Data


def _check_dataset(config: Config) -> None:
    """The images of the victim and their roles."""
    data = config.data
    if (data.protocol is Protocol.manifest) != (data.manifest is not None):
        raise UserError(
            f"data.protocol={data.protocol.value} with data.manifest={data.manifest}: "
            "give both data.protocol=manifest and data.manifest=FILE.csv, or neither"
        )
    for name in ("n_members", "n_nonmembers", "n_auxiliary"):
        count = getattr(data, name)
        if data.protocol is Protocol.manifest and count is not None:
            raise UserError(
                f"data.{name}={count}: data.manifest says which images have which role; leave it "
                "out, or set it to null"
            )
    _check_source("data", data)


def _check_source(key: str, data: Data) -> None:
    """Images of the victim, or of reference victims alone."""
    if data.source not in data.sources:
        raise UserError(
            f"{key}.source={data.source}: must be one of {', '.join(data.sources)}"
            f"{nearest(data.source, data.sources)}"
        )
    if data.source == "procedural":
        _check_generated(key, data)
    folders = [Path(d) for d in (data.input_dir, data.target_dir) if d is not None]
    is_elsewhere = folders != [] and all(folder.is_absolute() for folder in folders)
    if data.source == "folder" and not is_elsewhere:
        _check_root(key, data)
    if data.resize == "fit" and data.input_encoding is InputEncoding.one_hot:
        raise UserError(
            f"{key}.resize=fit: adds borders, which have no class of {key}.input_encoding=one_hot; "
            "use crop or squash"
        )
    build.source_component(data, key)


READ_FROM_FILES = (
    *("input_dir", "target_dir", "match", "value_range", "input_channels", "target_channels"),
    *("alpha", "exif", "page", "max_megapixels", "ignore_label"),
)
"""Settings of pictures on disk. Datasets that can be generated as well set others, such as
``layout``, for their pictures on disk."""


def _check_generated(key: str, data: Data) -> None:
    """Refuse settings of pictures on disk where pictures are generated."""
    from mia_lab.data.pairs import FolderPairs  # imports decoders, which --help would wait for

    defaults = signature_of(FolderPairs).parameters
    for name in READ_FROM_FILES:
        value = getattr(data, name)
        if value != defaults[name].default:
            raise UserError(
                f"{key}.{name}={value}: is read with {key}.source=folder alone, and "
                f"{key}.source=procedural generates pictures; set {key}.source=folder, or leave it "
                "out"
            )


def _check_root(key: str, data: Data) -> None:
    if data.root is not None and Path(data.root).is_dir():
        return
    if data.manifest is not None and names_files(Path(data.manifest)):
        return
    if data.root is None:
        raise UserError(
            f"{key}.source=folder: where? Set MIA_LAB_DATA to the folder that holds "
            f"{data.name}/, or give {key}.root=DIR"
        )
    raise UserError(f"{key}.root={data.root}: no such folder{nearest_folder(Path(data.root))}")


def _check_assignment(config: Config) -> None:
    data, guesses = config.data, config.evaluation.guesses
    coins = data.assignment is Assignment.bernoulli
    if coins and (data.protocol is not Protocol.resplit or data.group_by is not None):
        raise UserError(
            "data.assignment=bernoulli: flips a coin for each image, which takes "
            "data.protocol=resplit and no data.group_by"
        )
    if coins and data.duplicates is Duplicates.drop:
        raise UserError(
            "data.duplicates=drop: would leave out images by how their coins fell, and with "
            "data.assignment=bernoulli nothing but its own coin may decide about an image; remove "
            "the copies from the dataset, or set data.duplicates=keep"
        )
    if guesses is not None and not coins:
        raise UserError(
            f"evaluation.guesses={guesses}: a bound of epsilon holds where each member "
            "was drawn by a coin of its own; set data.assignment=bernoulli"
        )


def check_guesses(config: Config, n: int) -> None:
    """Refuse more guesses than there are candidates, or a choice among too few.

    Args:
        config: the settings.
        n: number of candidates.

    Raises:
        UserError: naming the remedies.
    """
    guesses, more = config.evaluation.guesses, "raise data.n_members and data.n_nonmembers"
    if isinstance(guesses, int) and guesses > n:
        raise UserError(
            f"evaluation.guesses={guesses}: there are {n} candidates; ask for fewer guesses, or "
            f"{more}"
        )
    if isinstance(guesses, str):
        # It imports scikit-learn, which --help and --cfg would wait for.
        from mia_lab.evaluation.epsilon import FEWEST_CANDIDATES

        if n < (fewest := FEWEST_CANDIDATES[guesses]):
            raise UserError(
                f"evaluation.guesses={guesses}: needs at least {fewest} candidates, and there are "
                f"{n}; set a number of guesses, or {more}"
            )


# Victims


def _check_victim(config: Config) -> Component:
    data, victim = config.data, build.victim(config)
    trainable = kinds.is_trainable(victim)
    reads_roles = config.task not in (Task.check, Task.export, Task.canary)
    if reads_roles and not trainable and data.protocol is Protocol.resplit:
        raise UserError(
            f"data.protocol=resplit draws new members, but victim={victim.name} is "
            "trained already; use data.protocol=official, or data.protocol=manifest with a CSV"
        )
    if config.query.mode is QueryMode.train and not kinds.has_train_mode(victim):
        raise UserError(
            f"query.mode=train: victim={victim.name} has no such mode; use query.mode=eval"
        )
    _check_copies(config, victim)
    build.defense(config)
    return victim


def _check_existing_victim(config: Config) -> None:
    """Refuse a victim that is trained here."""
    victim = _check_victim(config)
    if kinds.is_trainable(victim):
        raise UserError(
            f"victim={victim.name}: is trained here, on members that are known; "
            f"task={config.task.value} needs a victim that exists, such as victim=pretrained "
            "victim.checkpoint=FILE"
        )


def _check_copies(config: Config, victim: Component) -> None:
    """Victims of this package follow other sections; their own keys must not differ."""
    if not victim.target.startswith("mia_lab."):
        return
    followed = {
        "mode": ("query.mode", config.query.mode.value),
        "image_size": ("data.image_size", config.data.image_size),
        "input_encoding": ("data.input_encoding", config.data.input_encoding.value),
    }
    for key, (source, value) in followed.items():
        own = victim.arguments.get(key, value)
        if own != value:
            raise UserError(f"victim.{key}={own}: follows {source}={value}; set that")


def _check_training(config: Config, victim: Component) -> None:
    trainer = config.trainer
    if trainer.devices > 1 and trainer.strategy != "ddp":
        raise UserError(f"trainer.devices={trainer.devices}: more than one needs trainer=ddp")
    batch_size = victim.arguments.get("batch_size", 0)
    if kinds.is_trainable(victim) and batch_size % trainer.devices:
        raise UserError(
            f"trainer.devices={trainer.devices}: cannot divide victim.batch_size={batch_size} "
            "into equal parts; change either"
        )


def _check_reference_count(config: Config) -> None:
    reference = config.reference
    if reference.count % 2:
        raise UserError(
            f"reference.count={reference.count}: reference victims come in pairs, trained on "
            "complementary halves; give an even number"
        )
    if reference.only is not None and reference.only >= reference.count:
        raise UserError(
            f"reference.only={reference.only}: there are reference.count={reference.count}, from 0"
        )
    if reference.only is not None and config.until is not Until.references:
        raise UserError(
            f"reference.only={reference.only}: trains one reference victim, and no attack can "
            "work with one; add until=references"
        )


def _check_reference(config: Config) -> None:
    reference = config.reference
    if reference.data is not None:
        _check_source("reference.data", reference.data)
        if reference.pool is not ReferencePool.auxiliary:
            raise UserError(
                f"reference.pool={reference.pool.value}: is not drawn from where reference.data "
                "gives other images; leave one of them out"
            )
    if reference.victim is not None:
        build.reference_victim(config)


# Attacks, difficulty and verdict


def _check_names(config: Config) -> None:
    """The names of attacks."""
    attack = config.attack
    if not attack.names:
        raise UserError("attack.names=[]: name at least one attack, such as [reconstruction]")
    for name in attack.names:
        if name not in attack.available:
            raise UserError(
                f"attack.names={name}: must be one of {', '.join(attack.available)}"
                f"{nearest(name, attack.available)}"
            )
    if len(set(attack.names)) < len(attack.names):
        raise UserError(f"attack.names={attack.names}: names an attack twice")


def _check_rates(config: Config) -> None:
    for name in ("fprs", "priors"):
        rates = getattr(config.evaluation, name)
        if len(set(rates)) < len(rates):
            raise UserError(f"evaluation.{name}={rates}: names a rate twice")


def _check_difficulty(config: Config) -> Component:
    build.backbone(config)
    build.grid_backbones(config)
    return build.difficulty(config)


def _check_shard(config: Config, difficulty: Component) -> None:
    """Refuse parts where all images are needed, or where the difficulty has no parts."""
    shard = build.shard(config)
    if shard is not None and kinds.needs_references(difficulty):
        raise UserError(
            f"difficulty.shard={shard}: difficulty={difficulty.name} is the error of reference "
            "victims, whose answers are not divided into parts; leave it out"
        )
    if shard is not None and shard.part is not None:
        raise UserError(
            f"difficulty.shard={shard}: is for task=difficulty, and task={config.task.value} needs "
            f"the scores of all images; set difficulty.shard=all/{shard.count}, which reads the "
            "parts that are stored and computes the others"
        )


def _check_fail_if(config: Config, condition: str) -> None:
    if config.until is not None:
        raise UserError(
            f"fail_if={condition}: judges a whole audit, and until={config.until.value} stops it "
            "before; leave one of them out"
        )
    # These import scikit-learn, which --help and --cfg would wait for.
    from mia_lab.evaluation import gate, summary

    utility, adjust = config.evaluation.utility, config.evaluation.adjust
    names = summary.summary_names(
        config.attack.names,
        bounded=config.evaluation.guesses is not None,
        files=config.data.source != "procedural",
        useful=build.defense(config) is not None if utility is None else utility,
        adjusted=config.data.protocol is not Protocol.resplit if adjust is None else adjust,
        fprs=config.evaluation.fprs,
    )
    gate.check(condition, names)
