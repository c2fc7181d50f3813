"""How the code blocks of pages are found and made small."""

from __future__ import annotations

from pathlib import Path

from pages import blocks, commands, divided, small

PAGE = """# A page

```bash
python -m mia_lab seed=1
```

<!-- not run: needs SLURM -->
```bash
python -m mia_lab -m seed=1,2
```

<!-- exit code: 3 -->
```bash
python -m mia_lab fail_if='auc/membership > 0.6'
```

<!-- hidden python
number = 1
-->
A text between a comment and a block:

```python
number
```
"""


def test_comments_hold_for_the_next_block(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    found = blocks(page)
    assert [block.language for block in found] == ["bash", "bash", "bash", "python", "python"]
    assert [block.not_run for block in found] == ["", "needs SLURM", "", "", ""]
    assert [block.exit_code for block in found] == [0, 0, 3, 0, 0]
    assert found[3].text == "number = 1\n"


def test_commands_continue_over_lines() -> None:
    text = (
        "python -m mia_lab \\\n    seed=1\n\ncat > roles.csv <<'EOF'\nid,role\nEOF\n# a comment\n"
    )
    assert list(commands(text)) == [
        "python -m mia_lab seed=1",
        "cat > roles.csv <<'EOF'\nid,role\nEOF",
        "# a comment",
    ]


def test_options_and_overrides() -> None:
    given = ["-m", "--config-dir", "conf", "seed=1", "--cfg", "job"]
    assert divided(given) == (["-m", "--config-dir", "conf", "--cfg", "job"], ["seed=1"])


def test_sizes_and_sweeps_become_small() -> None:
    assert small(["data.image_size=256", "seed=range(10)", "attack.alpha=0,1,2"]) == [
        "data.image_size=32",
        "seed=0,1",
        "attack.alpha=0",
        "+page=tiny",
    ]
    assert small(["+sweep=seeds"]) == ["+sweep=seeds", "seed=0,1", "+page=tiny"]
