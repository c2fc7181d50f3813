"""Names of all kinds on the command line, and the errors of those that Hydra reads otherwise."""

from __future__ import annotations

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from mia_lab.config.choices import Task
from mia_lab.config.explain import CONFIGURATION_ERRORS, explain
from mia_lab.config.messages import ADDED_GROUPS, NESTED_GROUPS
from mia_lab.config.overrides import hydra_arguments, readable
from mia_lab.errors import UserError
from support import CONF, composed

TEXTS = (
    "epoch=3.pth",
    "a#b",
    "5%",
    "Straße 5%",
    "two  spaces",
    "model (1).pth",
    "f(x)",
    "[a].pth",
    "{a} b",
    "it's",
    "'a'.png",
    'a"b',
    "日本",
    "http://x:80/y?z=1&w=2",
    "a~b;c!d<e>f^g`h|i",
    "/a=b\\",
    "a\\=b=c",
    "007",
    "s3://x@y",
    "a=b, c.pth",
    "Straße 5, Hof",
    "it's, a",
    "^train/([a-z]+)_",
    "^(.{2,5})_[0-9]",
    r"[a-z]+\d",
    "[a-z]",
    "[a,b]",
    "{a,b}(c)",
    "{2}",
    "1.10",
    "1e3",
    "0x10",
    "true",
    "a,b)",
    "(a,b)",
)
"""Values that reach the configuration as they are typed."""


@pytest.mark.parametrize("value", TEXTS)
def test_names_need_no_quotes_but_the_shells(value: str) -> None:
    (argument,) = hydra_arguments([f"data.root={value}"])
    assert composed(argument).data.root == value


@pytest.mark.parametrize(
    "override",
    [
        "seed=3", "seed=1,2", "attack.names=[a,b]", "data.root=${paths.data}", "~query", "a={b:1}",
        "data.root=a,b", "data.root=choice(a,b)", "data.root='a,b'", 'data.root="a,b"',
        "data.root=null", "data.root=", "data.root=glob(*)", "data.root=sort(b,a)",
        "data.root=1.10,1.20", "reference.only=range(8)", "fail_if='a > 1','b > 1'", "data=maps",
        "+experiment=a,b", "difficulty.grid.layers=[[1],[2]]", "seed=interval(0,1)",
        "+victim.x={a:[1,2]}", "victim.checkpoint=[a]", "compare.runs=[ß]", "compare.runs=[ß,b]",
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_sweep", [False, True])
def test_what_hydra_reads_stays(override: str, is_sweep: bool) -> None:
    assert readable(override, is_sweep) == override


@pytest.mark.parametrize(
    ("override", "argument"),
    [
        ("data.root=ß,c", "data.root=ß,c"),  # two texts, or one? An error asks
        ("data.root=ß", 'data.root="ß"'),
        ("data.group_by=[a-z]", 'data.group_by="[a-z]"'),
        ("reference.data.train=1.10", 'reference.data.train="1.10"'),
        ("+data.train=1.10", '+data.train="1.10"'),
        ("seed=1.10", "seed=1.10"),
        ("data.sources.mine.x=1.10", "data.sources.mine.x=1.10"),
    ],
)
@pytest.mark.parametrize("sweep", ["-m", "+sweep=seeds"])
def test_values_of_a_sweep(sweep: str, override: str, argument: str) -> None:
    assert hydra_arguments([sweep, override])[1] == argument


def test_conditions_need_no_quotes_but_the_shells() -> None:
    (argument,) = hydra_arguments(["fail_if=auc/membership > 0.6"])
    assert composed(argument).fail_if == "auc/membership > 0.6"


def test_options_may_stand_anywhere() -> None:
    typed = ["seed=0,1", "-m", "data.root=a=b", "--config-dir", "seed=0,1", "victim=onnx"]
    options = ["-m", "--config-dir", "seed=0,1"]
    assert hydra_arguments(typed) == [*options, "seed=0,1", 'data.root="a=b"', "victim=onnx"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--multrun", '--multrun: there is no such option; .*; did you mean "--multirun"[?]$'),
        ("--seed=3", "--seed=3: there is no such option; settings have no dashes, such as seed=1"),
        ("=3", "=3: is no setting; write KEY=VALUE without spaces around ="),
        ("data.root=a\udce9=", r"data.root=a\\xe9=: is not encoded in UTF-8"),
    ],
)
def test_arguments_that_are_refused(argument: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        hydra_arguments([argument])


def message_of(*overrides: str) -> str:
    with pytest.raises((*CONFIGURATION_ERRORS, UserError)) as caught:
        composed(*hydra_arguments(overrides))
    return explain(caught.value)


@pytest.mark.parametrize("value", ["a${b}.pth", "a=${b"])
def test_the_quotes_that_an_error_proposes_work(value: str) -> None:
    """The proposal is pasted into a shell, which takes one pair of quotes off."""
    text = message_of(f"data.root={value}")
    assert text.startswith("data.root")
    proposed = text[text.index("'data.root=") :].partition("; or each")[0]
    (argument,) = shlex.split(proposed)
    assert composed(*hydra_arguments([argument])).data.root == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "seed: is no setting; write KEY=VALUE without spaces around =, such as seed=1"),
        ("audit", "audit: is no setting; .* such as task=audit"),
        ("data.root=a b,c", r"data.root=a b,c: is several values; add -m for .* data.root=\[...\]"),
        ("victim.checkpoint=ß,c", """or each of several, 'victim.checkpoint="ß",c'"""),
        ("compare.runs=[ß, b]", """quote such an item twice, 'compare.runs=\\["ß",b\\]'"""),
        ("compare.runs=[ß, b", """if it is one text, quote it twice, 'compare.runs="\\[ß, b"'"""),
        ("seed=range(3)", "seed=range.3.: is a sweep; add -m"),
        ("experiment=maps_pix2pix", "could replace; write [+]experiment=maps_pix2pix"),
        ("victim=pix2pixx", 'victim=pix2pixx: unknown choice; .*; did you mean "pix2pix"[?]$'),
        ("+data@reference.data=map", 'data=map: unknown choice; .*; did you mean "maps"[?]$'),
        ("difficulty/grid=layer_x_ridge", 'difficulty/grid=.* did you mean "layers_x_ridge"[?]$'),
        ("difficulty/gird=none", 'difficulty/gird: unknown group; .* mean "difficulty/grid"[?]$'),
        ("expirement=maps_pix2pix", 'expirement: unknown key; .* did you mean "[+]experiment"[?]$'),
        ("hydra.launcher.processes=4", "has keys where hydra/launcher=NAME chooses some"),
        ("seed=${sed}", "seed: Interpolation key 'sed' not found$"),
        ("~victm", "~victm: there is no such key"),
        ("seed=1,2,", """quote it twice, 'seed="1,2,"'$"""),
        ("+scale=paper", "scale: is chosen already; leave out the [+]"),
        ("compare.runs=a", r"compare.runs=a: must be a list, such as \[a\]"),
        ("task=audi", 'task=audi: must be one of audit, .*; did you mean "audit"[?]$'),
        ("until=spilt", 'until=spilt: must be one of split, .*; did you mean "split"[?]$'),
    ],
)
def test_messages_of_typical_mistakes(override: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(message_of(override))


@pytest.mark.parametrize(
    "value", ["0:0:0", "black", "0", "[1,2]", "[0,0,0]", "[[0,0]]", "[[0,0,a]]", "[0:0:0]"]
)
def test_an_error_proposes_a_palette(value: str) -> None:
    text = message_of(f"data.palette={value}")
    assert text.startswith("data.palette=")
    assert text.endswith(" such as [[0,0,0],[255,0,0]]")


def test_the_palette_that_an_error_proposes_works() -> None:
    found = composed("data.palette=[[0,0,0],[255,0,0]]").data.palette
    assert found == [[0, 0, 0], [255, 0, 0]]


def test_two_experiments() -> None:
    text = message_of("+experiment=maps_pix2pix", "+experiment=facades_pix2pix")
    assert text == "experiment: is chosen already; leave out the +, or one of two choices"


def test_every_group_is_known_to_the_messages() -> None:
    groups = {str(p.parent.relative_to(CONF)) for p in CONF.rglob("*.yaml")} - {"."}
    sections = type(composed()).model_fields
    chosen = {name for name in groups if name in sections}
    ours = (
        groups
        - chosen
        - {
            *("hydra/job_logging", "hydra/hydra_logging", "hydra/sweeper", "hydra/help"),
        }
    )
    assert ours == {name.lstrip("+") for name in ADDED_GROUPS} | set(NESTED_GROUPS)


def test_tasks_are_settings_of_the_grammar() -> None:
    for task in Task:
        with pytest.raises(OverrideParseException) as caught:
            OverridesParser.create().parse_overrides([task.value])
        assert explain(caught.value).endswith(f"such as task={task.value}")
