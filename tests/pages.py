"""The code blocks of Markdown pages, and their execution at a small size.

All blocks of a page share a folder, a Python namespace and an environment, in their order:

- ``python``: executed, or tested as a doctest if it holds ``>>>``;
- ``bash``: commands. ``python -m mia_lab`` runs in this process with few and small images, a small
  network and few permutations; of a sweep, two points. ``python FILE.py ... &`` is a server that
  runs until the page ends. Bash runs the commands of :data:`IN_BASH`. Other commands are not run;
- ``python`` and ``yaml`` whose first line is a comment with a file's name: written to that file.

A comment before a block says what is special: ``<!-- not run: needs SLURM -->``: its commands are
only composed; ``<!-- exit code: 3 -->``. ``<!-- hidden python ... -->`` is a block that readers do
not see.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, chdir, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from unittest.mock import patch

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from markdown_it import MarkdownIt

from mia_lab.config.compose import CONF
from mia_lab.config.overrides import readable
from support import TEST_CONF, Command, composed

ROOT = Path(__file__).parents[1]

IN_BASH = {"cat", "cp", "head", "ls", "mkdir", "mv", "sort", "tail"}

SERVICE, PORT = "http://host:", "8000"
"""Address of the service in the pages, and the port of any server."""

SMALL = {
    "data.image_size": "32",
    "data.n_members": "6",
    "data.n_nonmembers": "5",
    "data.n_auxiliary": "8",
    "difficulty.repeats": "2",
    "evaluation.guesses": "4",
    "evaluation.permutations": "20",
    "hydra.launcher.processes": "1",
    "attack.available.adaptive.repeats": "2",
    "reference.count": "2",
    "reference.data.n_auxiliary": "4",
    "trainer.threads": "1",
    "victim.batch_size": "3",
    "victim.epochs": "2",
    "victim.keep_epochs": "[1,2]",
    "victim.steps": "2",
}
"""Values of keys that a command sets, in place of its own."""

COMMENT = re.compile(
    r"<!-- (not run|exit code|hidden python)(?:: ([^>]*?))?(?:\n(.*?))?\s*-->", re.DOTALL
)
FILE_NAME = re.compile(r"# ([\w./-]+\.(?:py|yaml|csv))\n")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: its first word.
        text: what it holds.
        line: its line in the page, from 1.
        not_run: why it cannot be run; "" if it can.
        exit_code: of its commands.
    """

    language: str
    text: str
    line: int
    not_run: str = ""
    exit_code: int = 0


def blocks(path: Path) -> list[Block]:
    """The blocks of a page, hidden ones as well."""
    found = []
    notes: dict[str, str] = {}
    for token in MarkdownIt().parse(path.read_text(encoding="utf-8")):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block":
            for kind, value, content in COMMENT.findall(token.content):
                notes[kind] = value
                if kind == "hidden python":
                    found.append(Block("python", content + "\n", line))
        elif token.type == "fence":
            language = token.info.split()[0] if token.info.split() else ""
            code = int(notes.get("exit code", 0))
            found.append(Block(language, token.content, line + 1, notes.get("not run", ""), code))
            notes = {}
        elif token.type == "inline":
            notes = {}
    return found


@dataclass
class PageRun:
    """The execution of a page in a folder that holds what its reader has.

    Attributes:
        port: takes the place of the pages' :data:`PORT`.
        store: one that pages share; a page that speaks of the store has its own.
    """

    page: Path
    command: Command
    port: int
    store: Path
    namespace: dict[str, object] = field(default_factory=lambda: {"__name__": "__main__"})
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def folder(self) -> Path:
        return self.command.folder

    def run(self) -> None:
        """Execute every block.

        Raises:
            AssertionError: one did not do what the page says; the message names its line.
        """
        self.command.environment |= {"HOME": str(self.folder), "PWD": str(self.folder)}
        (self.folder / "experiments").symlink_to(ROOT / "experiments")
        with self.stack, patch.object(sys, "path", [str(self.folder), *sys.path]):
            for block in blocks(self.page):
                text = block.text.replace(SERVICE, "http://127.0.0.1:")
                self._run(replace(block, text=text.replace(PORT, str(self.port))))

    def compose(self) -> None:
        """Only compose the configurations of the commands: their keys and choices exist."""
        for block in blocks(self.page):
            if block.language == "bash":
                self._run(replace(block, not_run="is only composed"))

    def _run(self, block: Block) -> None:
        if block.language in ("python", "yaml") and (name := FILE_NAME.match(block.text)):
            path = self.folder / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "python" and not block.not_run:
            with ExitStack() as stack:
                stack.enter_context(chdir(self.folder))
                stack.enter_context(patch.dict(os.environ, self.command.environment))
                self._python(block)
        elif block.language == "bash":
            for line in commands(block.text):
                self._bash(line, block)

    def _python(self, block: Block) -> None:
        name = self._place(block)
        if ">>>" not in block.text:
            exec(
                compile("\n" * (block.line - 1) + block.text, str(self.page), "exec"),
                self.namespace,
            )
            return
        parser, out = doctest.DocTestParser(), []
        test = parser.get_doctest(block.text, self.namespace, name, str(self.page), block.line - 1)
        runner = doctest.DocTestRunner(
            optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False
        )
        test.globs = self.namespace
        runner.run(test, out=out.append, clear_globs=False)
        assert not runner.summarize(verbose=False).failed, "".join(out)

    def _bash(self, line: str, block: Block) -> None:
        with patch.dict(os.environ, self.command.environment):
            words = shlex.split(os.path.expandvars(line), comments=True)
        if not words:
            return
        if words[0] == "export":
            self.command.environment |= dict([words[1].split("=", 1)])
            if words[1].startswith("PYTHONPATH="):
                sys.path[:0] = words[1].partition("=")[2].split(os.pathsep)
        elif words[:3] == ["python", "-m", "mia_lab"]:
            self._mia_lab(words[3:], block)
        elif words[0] == "python" and words[-1] == "&":
            self._serve(words[1:-1])
        elif words[0] in IN_BASH and not block.not_run:
            environment = {**os.environ, **self.command.environment}
            subprocess.run(
                ["bash", "-ec", line], cwd=self.folder, env=environment, check=True,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def _mia_lab(self, arguments: Sequence[str], block: Block) -> None:
        options, overrides = divided(arguments)
        place = f"{self._place(block)}: python -m mia_lab {' '.join(arguments)}"
        config = self._configuration(options)
        if block.not_run:
            check(config, small(overrides))
        else:
            self.command.conf = config
            shared = [] if self._has_store else [f"paths.store={self.store}"]
            ran = self.command(*options, *small(overrides), *shared)
            assert ran.code == block.exit_code, f"{place}\n{ran.out}{ran.err}"
            assert "Traceback" not in ran.err, f"{place}\n{ran.err}"

    def _serve(self, words: Sequence[str]) -> None:
        """Start a server, and wait until it listens."""
        with (self.folder / "server.log").open("w") as log:
            server = self.stack.enter_context(
                subprocess.Popen([sys.executable, *words], cwd=self.folder, stderr=log)
            )
        self.stack.callback(server.terminate)
        for _ in range(600):
            assert server.poll() is None, (self.folder / "server.log").read_text()
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.1)
        raise AssertionError(f"{self.page.name}: python {' '.join(words)} does not listen")

    def _configuration(self, options: list[str]) -> Path:
        """The tests' folder of settings, with those of ``--config-dir``, which is taken out."""
        folder = self.folder / ".conf"
        shutil.copytree(TEST_CONF, folder, dirs_exist_ok=True)
        if "--config-dir" in options:
            at = options.index("--config-dir")
            shutil.copytree(self.folder / options[at + 1], folder, dirs_exist_ok=True)
            del options[at : at + 2]
        return folder

    @cached_property
    def _has_store(self) -> bool:
        text = self.page.read_text(encoding="utf-8")
        return "outputs/store" in text or "task=store" in text

    def _place(self, block: Block) -> str:
        return f"{self.page.relative_to(ROOT)}:{block.line}"


def commands(text: str) -> Iterator[str]:
    """The commands of a block: a line, continued by a backslash or with a here-document."""
    lines = iter(text.splitlines())
    for line in lines:
        while line.endswith("\\"):
            line = line[:-1] + next(lines).strip()
        if heredoc := re.search(r"<<-?\s*'?(\w+)'?", line):
            for content in lines:
                line += f"\n{content}"
                if content == heredoc[1]:
                    break
        if line.strip():
            yield line.strip()


def divided(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options with their values, and overrides."""
    options, overrides = [], []
    rest = iter(arguments)
    for argument in rest:
        if argument in ("--config-dir", "--cfg"):
            options += [argument, next(rest)]
        else:
            (options if argument.startswith("-") else overrides).append(argument)
    return options, overrides


def small(overrides: Sequence[str]) -> list[str]:
    """Overrides at a small size: two points of a sweep, few images, small networks."""
    found, is_first = [], True
    for override in OverridesParser.create().parse_overrides([*map(readable, overrides)]):
        text = override.input_line or ""
        if override.key_or_group == "sweep":
            params = yaml.safe_load((CONF / f"sweep/{override.value()}.yaml").read_text())
            params = params["hydra"]["sweeper"]["params"]
            found += [text, *small([f"{key}={value}" for key, value in params.items()])]
            continue
        if override.is_sweep_override():
            values = [str(value) for value in override.sweep_string_iterator()]
            text = f"{override.get_key_element()}={','.join(values[: 2 if is_first else 1])}"
            is_first = False
        elif (key := override.key_or_group) in SMALL:
            text = f"{key}={SMALL[key]}"
        found.append(text)
    if {"attack=all", "attack=answers_only"} & {*overrides}:  # some attacks are fitted to them
        found.append("data.n_auxiliary=20")
    if any(override.startswith("difficulty.shard=") for override in overrides):
        found.append("difficulty.batch_size=1")  # a part takes one batch at least
    return found if any("page=tiny" in one for one in found) else [*found, "+page=tiny"]


def check(config: Path, overrides: Sequence[str]) -> None:
    """Check that keys and choices exist, and the types of values, of the first point of a sweep."""
    first = []
    for override in OverridesParser.create().parse_overrides([*map(readable, overrides)]):
        text = override.input_line or ""
        if override.is_sweep_override():
            text = f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
        first.append(text)
    composed(f"hydra.searchpath=[file://{config}]", *first)
