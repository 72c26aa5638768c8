"""Habits of the shell: variables, quiet, pipes, completion, and flags that mean one thing."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from itertools import combinations

import click
import pytest
from click.testing import CliRunner

from hyseg_cli.cli.environment import flag_of, variable_of
from hyseg_cli.cli.group import COMMANDS, cli
from hyseg_cli.cli.options import HysegCommand

# What the help of a flag tells differs where the thing differs, and only there.
OWN_HELP = {
    "--out": "each command makes something else",
    "--confidence": "predict writes it, vectorize reads it",
    "--probabilities": "predict writes them, evaluate reads them",
    "--images": "train learns from them, evaluate measures on them",
    "--labels": "train says what they may be, evaluate points there",
    "--legend": "train's is of the labels, elsewhere it is of the map",
    "--benchmark": "train learns from it, evaluate measures on it",
    "--batch-size": "chips of a training, tiles of a map",
    "--devices": "a scene is shared otherwise than a batch",
    "--dry-run": "what would be done differs",
    "--seed": "what is drawn differs",
    "--resume": "maps go on by themselves, trainings when asked to",
    "--report": "what is reported differs",
    "--workers": "of a training they prepare chips, of a cluster they map",
    "--stac": "what it is an Item of differs",
}


def commands():
    """Every command with the words that call it, those of sub-groups too."""
    waiting = [((name,), cli.get_command(click.Context(cli), name)) for name in COMMANDS]
    while waiting:
        words, command = waiting.pop()
        if isinstance(command, click.Group):
            waiting += [((*words, name), each) for name, each in command.commands.items()]
        else:
            yield words, command


def options(command):
    return [param for param in command.params if isinstance(param, click.Option)]


OPTIONS = [
    pytest.param(words, option, id=f"{' '.join(words)} {flag_of(option)}")
    for words, command in commands()
    for option in options(command)
]


# ---- flags ------------------------------------------------------------------------------------


def make_of(option):
    kind = option.type
    choices = tuple(kind.choices) if isinstance(kind, click.Choice) else ()
    return {
        "name": option.name,
        "flags": (option.opts, option.secondary_opts),
        "type": (type(kind), choices),
        "metavar": option.metavar,
        "repeats": option.multiple,
        "is a switch": option.is_flag,
    }


def test_a_flag_is_one_thing_in_all_commands():
    found = [
        (words, flag_of(option), option)
        for words, command in commands()
        for option in options(command)
    ]
    for (one, flag, first), (other, name, second) in combinations(found, 2):
        if flag != name:
            continue
        where = f"{flag} of {' '.join(one)} and of {' '.join(other)}"
        assert make_of(first) == make_of(second), where
        if flag not in OWN_HELP:
            assert first.help == second.help, where


def test_a_short_flag_stands_for_one_long_flag():
    found = {}
    for _, command in commands():
        for option in options(command):
            for short in (name for name in option.opts if not name.startswith("--")):
                assert found.setdefault(short, flag_of(option)) == flag_of(option), short


@pytest.mark.parametrize(("words", "option"), OPTIONS)
def test_every_flag_has_help_that_is_a_sentence(words, option):
    text = re.sub(r"\s*\[default: [^]]*\]$", "", option.help or "")
    assert text.endswith((".", "?")), text
    assert text.startswith("auto,") or not text[0].islower(), text


# ---- variables --------------------------------------------------------------------------------


def value_for(option):
    """Something that the environment may hold for an option, and that is not its default."""
    kind = option.type
    if option.is_flag:
        return "0" if option.default is True else "1"
    if isinstance(kind, click.Choice):
        return str(kind.choices[-1])
    if isinstance(kind, click.types.IntParamType):
        return "7"
    if isinstance(kind, click.types.FloatParamType):
        return "0.375"
    return {"bounds": "1,2,3,4", "part": "1/2"}.get(kind.name, "3")


@pytest.mark.parametrize(("words", "option"), OPTIONS)
def test_every_flag_has_its_variable(words, option, tmp_path, monkeypatch):
    """What a variable sets is what the flag sets."""
    command = dict(commands())[words]
    settings = tmp_path / "run.toml"
    settings.write_text("")
    value = str(settings) if option.name == "config" else value_for(option)
    typed = [flag_of(option), value]
    if option.is_flag:
        typed = option.secondary_opts[:1] if value == "0" else typed[:1]
    parsed = []
    monkeypatch.setattr(
        HysegCommand, "invoke", lambda self, ctx: parsed.append(dict(ctx.params) | ctx.meta)
    )
    needed = []
    for param in command.params:
        if param.required and param is not option:
            word = param.type.choices[0] if isinstance(param.type, click.Choice) else "x"
            needed += [flag_of(param), word] if isinstance(param, click.Option) else [word]
    variable = variable_of(option, "_".join(("HYSEG", *words)).upper())
    assert re.fullmatch(r"HYSEG(_[A-Z0-9]+)+", variable)
    for words_typed, environment in (([*needed, *typed], {}), (needed, {variable: value})):
        done = CliRunner(env=environment).invoke(cli, [*words, *words_typed])
        assert done.exit_code == 0, done.output
    assert parsed[0] == parsed[1]


def test_typed_wins_over_the_variable_and_the_variable_over_the_file(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        HysegCommand, "invoke", lambda self, ctx: seen.append(ctx.params["tile_size"])
    )
    settings = tmp_path / "run.toml"
    settings.write_text("tile-size = 64")
    words = ["predict", "x.tif", "--out", "y.tif", "--config", str(settings)]
    CliRunner().invoke(cli, words)
    CliRunner(env={"HYSEG_PREDICT_TILE_SIZE": "96"}).invoke(cli, words)
    CliRunner(env={"HYSEG_PREDICT_TILE_SIZE": "96"}).invoke(cli, [*words, "--tile-size", "128"])
    assert seen == [64, 96, 128]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [('band = "3,2,1"', "bands", (3, 2, 1)), ("json = true", "as_json", True)],
)
def test_settings_have_the_names_of_the_flags(tmp_path, monkeypatch, text, name, value):
    seen = []
    monkeypatch.setattr(HysegCommand, "invoke", lambda self, ctx: seen.append(ctx.params[name]))
    settings = tmp_path / "run.toml"
    settings.write_text(text)
    words = ["predict", "x.tif", "--out", "y.tif", "--config", str(settings)]
    assert CliRunner().invoke(cli, words).exit_code == 0
    assert seen == [value]
    settings.write_text("as_json = true")
    assert CliRunner().invoke(cli, words).exit_code == 2


@pytest.mark.parametrize("name", ["HYSEG_PREDICT_TILESIZE", "HYSEG_PREDICT_AS_JSON"])
def test_a_variable_that_is_no_option_is_an_error(name):
    done = CliRunner(env={name: "1"}).invoke(cli, ["predict", "x.tif", "--out", "y.tif"])
    assert done.exit_code == 2
    assert name in done.stderr
    assert len(done.stderr.splitlines()) == 2
    # Other commands do not mind, nor do other programs that are called like ours.
    assert CliRunner(env={name: "1"}).invoke(cli, ["info", "--help"]).exit_code == 0
    assert CliRunner(env={"HYSEG_VERSION": "0.1"}).invoke(cli, ["--help"]).exit_code == 0


# ---- quiet, terminals and pipes ---------------------------------------------------------------


def hyseg(*words, cwd, **more):
    """The command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "hyseg_cli", *map(str, words)],
        cwd=cwd, text=True, check=False, **{"capture_output": True, **more},
    )  # fmt: skip


@pytest.fixture
def here(place, monkeypatch, capfd):
    """Run a command in this process and take what it writes, libraries below Python included."""
    monkeypatch.chdir(place)

    def run(line):
        with pytest.raises(SystemExit) as ended:
            cli.main(line.split(), prog_name="hyseg")
        return (ended.value.code, *capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory, scene_folder, lively_model):
    """A folder with all that the commands need, under the names of the documentation."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copy(scene_folder / "images" / "east.tif", folder / "scene.tif")
    shutil.copy(scene_folder / "labels" / "east.tif", folder / "truth.tif")
    shutil.copy(scene_folder / "legend.json", folder / "legend.json")
    shutil.copy(lively_model, folder / "my.safetensors")
    (folder / "scenes").mkdir()
    shutil.copy(folder / "scene.tif", folder / "scenes" / "good.tif")
    (folder / "scenes" / "bad.tif").write_bytes(b"II*\0 and no more")
    words = ["predict", folder / "scene.tif", "-m", folder / "my.safetensors", "--tile-size", "128"]
    done = CliRunner().invoke(cli, [*map(str, words), "--out", str(folder / "map.tif")])
    assert done.exit_code == 0, done.output
    return folder


RUNS = {
    "predict": "predict scene.tif --out other.tif -m my.safetensors --tile-size 128 --gsd native",
    "vectorize": "vectorize map.tif --out map.gpkg",
    "evaluate": "evaluate map.tif --reference truth.tif --report report.html",
    "sample": "sample map.tif --out points.gpkg --count 300",
    "suggest": "suggest scene.tif --model my.safetensors --out next.gpkg",
    "train": "train --images scene.tif --labels truth.tif --legend legend.json "
    "--out new.safetensors --preset cpu_smoke --prior-steps 1 --steps 1 "
    "--batch-size 2 --chip-size 64",
    "info": "info my.safetensors",
    "completion": "completion bash",
    "models": "models list",
    "check": "check",
    "export": "export my.safetensors --scene scene.tif --out m.pt2 --format pt2 --tile-size 64 "
    "--tiles 1",
    "change": "change map.tif map.tif",
    "qgis": "qgis zip --out plugin.zip",
}


def test_quiet_is_tried_with_every_command():
    assert {words[0] for words, _ in commands()} == set(RUNS)


@pytest.mark.parametrize("name", sorted(set(RUNS) - {"train", "export"}))
def test_quiet_tells_results_alone(here, name):
    code, out, err = here(RUNS[name] + " --quiet")
    assert (code, err) == (0, "")
    assert out


@pytest.mark.slow
def test_quiet_tells_the_result_of_a_training_alone(place):
    done = hyseg(*RUNS["train"].split(), "--quiet", cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_quiet_still_tells_errors(here):
    code, out, err = here("predict none.tif --out none-map.tif -q")
    assert (code, out) == (2, "")
    assert [line.partition(":")[0] for line in err.splitlines()] == ["Error", "Hint"]


def test_quiet_still_tells_which_scenes_failed(here):
    code, _, err = here("predict scenes --out maps -m my.safetensors --tile-size 128 -q")
    assert code == 6
    (line,) = err.splitlines()
    assert line.startswith("Error: ")
    assert "bad.tif" in line


@pytest.mark.parametrize(
    "line",
    [
        "predict scene.tif --out j.tif -m my.safetensors --tile-size 128 --gsd native --json",
        "vectorize map.tif --out j.gpkg --json",
        "evaluate map.tif --reference truth.tif --json",
        "sample map.tif --out j-points.gpkg --count 300 --json",
    ],
)
def test_stdout_is_json_and_nothing_else(here, line):
    """As for `hyseg predict ... --json | jq`, without --quiet."""
    code, out, err = here(line)
    assert code == 0, err
    assert isinstance(json.loads(out), dict)


@pytest.fixture
def unread():
    """The end of a pipe whose other end nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def streams(**chosen):
    return {"capture_output": False, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | chosen


def test_a_reader_that_is_gone_ends_a_command_without_a_word(place, unread):
    done = hyseg("completion", "bash", cwd=place, **streams(stdout=unread))
    assert (done.returncode, done.stderr) == (141, "")


def test_a_log_that_nobody_reads_stops_no_run(place, unread):
    words = ["vectorize", "map.tif", "--out", "unread.gpkg", "--log-format", "json"]
    done = hyseg(*words, cwd=place, **streams(stderr=unread))
    assert done.returncode == 0
    assert "polygons" in done.stdout
    assert (place / "unread.gpkg").exists()
    failed = hyseg("vectorize", "none.tif", "--out", "x.gpkg", cwd=place, **streams(stderr=unread))
    assert (failed.returncode, failed.stdout) == (2, "")


BAR = """
import time
from hyseg_cli.messages import Console
with Console() as report:
    report.warn("be careful")
    for done in range(3):
        report.advance("mapping", done, 2)
        report.note("a note with a number, 17")
"""


def on_a_terminal(program, **environment):
    """What a program writes to a terminal."""
    main, terminal = pty.openpty()
    plain = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "FORCE_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stderr=terminal, env=plain | environment
    )
    os.close(terminal)
    told = b""
    try:
        while part := os.read(main, 4096):
            told += part
    except OSError:  # how Linux tells that the other end is closed
        pass
    os.close(main)
    assert process.wait() == 0
    return told.decode()


def test_no_color_is_respected():
    colors = r"\x1b\[[0-9;]*3[0-9][0-9;]*m|\x1b\[38;"
    assert re.search(colors, on_a_terminal(BAR, TERM="xterm-256color"))
    plain = on_a_terminal(BAR, TERM="xterm-256color", NO_COLOR="1")
    assert "mapping" in plain
    assert not re.search(colors, plain)


def test_nothing_but_text_goes_where_no_terminal_is(here):
    code, out, err = here("vectorize map.tif --out plain.gpkg")
    assert code == 0
    assert "\x1b" not in out + err


# ---- completion -------------------------------------------------------------------------------

ASK = {
    "bash": 'eval "$(hyseg completion bash)"; COMP_WORDS=({line}); COMP_CWORD={place}; '
    '_hyseg_completion hyseg; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "fish": "hyseg completion fish | source; complete --do-complete '{line}'",
    "zsh": 'autoload -U compinit; compinit -u; eval "$(hyseg completion zsh)"; '
    'print -r -- ${{_comps[hyseg]}}; env COMP_WORDS="{line}" COMP_CWORD={place} '
    "_HYSEG_COMPLETE=zsh_complete hyseg",
}


@pytest.mark.parametrize("shell", ASK)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hyseg pre", "predict"),
        ("hyseg evaluate --fail-u", "--fail-under"),
        ("hyseg predict --tta d", "d4"),
    ],
)
def test_a_shell_completes(shell, line, expected, tmp_path):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not here")
    # The command of this environment, whichever is installed on the machine.
    command = tmp_path / "hyseg"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hyseg_cli "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    script = ASK[shell].format(line=line, place=len(line.split()) - 1)
    done = subprocess.run(
        [program, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert expected in re.split(r"[\s,]", done.stdout), done.stdout + done.stderr


def test_completion_of_an_input_is_files():
    from click.shell_completion import ShellComplete

    (found,) = ShellComplete(cli, {}, "hyseg", "_HYSEG_COMPLETE").get_completions(["predict"], "sc")
    assert (found.type, found.value) == ("file", "sc")


def test_completion_names_the_shells_it_knows():
    done = CliRunner().invoke(cli, ["completion", "tcsh"])
    assert done.exit_code == 2
    assert all(shell in done.stderr for shell in ASK)


def test_the_examples_of_the_help_can_be_copied():
    lines = CliRunner().invoke(cli, ["--help"]).stdout.splitlines()
    assert "    hyseg predict scene.tif --out landcover.tif" in lines
    for words, command in [((), cli), *commands()]:
        assert "\\b" not in (command.help or ""), words


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["predct"], "'predict'"), (["vectorise"], "'vectorize'"), (["models", "lst"], "'list'")],
)
def test_a_command_that_is_nearly_right_is_suggested(words, meant):
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert f"Did you mean {meant}?" in result.output


def test_nothing_is_suggested_for_what_is_like_no_command():
    result = CliRunner().invoke(cli, ["xyzzy"])
    assert result.exit_code == 2
    assert "No such command 'xyzzy'." in result.output
    assert "mean" not in result.output
