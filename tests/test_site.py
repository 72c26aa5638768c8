"""The documentation as a site: it builds, and names every flag and every error."""

from __future__ import annotations

import ast
import html
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from command_pages import all_commands, command_page, page_name, variable
from error_pages import PLACEHOLDER, SUBJECTS, code, errors, fill, sources, subject_of
from manual_pages import write_manual
from raised import EXIT_CODES, Sources

from hyseg_cli import __version__
from hyseg_cli import errors as kinds
from hyseg_cli.cli.flags import flag_writer
from hyseg_cli.cli.group import cli

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The site, built strictly."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def text_of(page):
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


# ---- the site ---------------------------------------------------------------------------------


def test_nothing_is_fetched_from_elsewhere(site):
    """Links may lead away; what a page loads may not."""
    loaded = re.compile(r"""<(?:link|script|img|iframe)[^>]*(?:href|src)=["'](?:https?:)?//""")
    for page in site.rglob("*.html"):
        assert not loaded.search(page.read_text(encoding="utf-8")), page.name
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", text), style.name


def test_every_page_is_on_the_site_and_what_makes_it_is_not(site):
    for page in DOCS.rglob("*.md"):
        assert (site / page.relative_to(DOCS)).with_suffix(".html").exists(), page.name
    assert not list(site.rglob("*.py"))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_of_the_pages_outside_the_site_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert target.startswith("http") or (ROOT / target).exists(), target


# ---- the reference ----------------------------------------------------------------------------


def named_in_help(words):
    """The flags that the help of a command names, as somebody who types it reads them."""
    told = CliRunner().invoke(cli, [*words, "--help"]).output
    begins = re.findall(r"^  (-.*?)(?:  |$)", told, re.MULTILINE)
    return {flag for line in begins for flag in re.findall(r"--[a-z][a-z-]*", line)}


@pytest.mark.parametrize("context", [c for c, _ in all_commands()], ids=lambda c: c.command_path)
def test_every_flag_has_a_place_in_the_reference(site, context):
    page = site / "reference" / page_name(context).replace(".md", ".html")
    text, flags = text_of(page), named_in_help(context.command_path.split()[1:])
    assert "--help" in flags
    for flag in flags:
        assert re.search(rf"{flag}(?![a-z-])", text), flag
    for option in context.command.get_params(context):
        if isinstance(option, click.Option) and option.name != "help":
            assert variable(context, option) in text


def test_every_command_has_a_page():
    described = {context.command_path for context, _ in all_commands()}
    told = CliRunner().invoke(cli, ["--help"]).output.partition("Commands:")[2]
    names = re.findall(r"^  ([a-z]+)  ", told, re.MULTILINE)
    assert len(names) >= 7
    for name in names:
        assert any(f"{path} ".startswith(f"hyseg {name} ") for path in described), name


def test_a_page_of_a_command_follows_its_source():
    """A flag that is added is on the page without anybody writing it there."""

    @click.command()
    @click.option("--brand-new", help="Does <what> it *says*.")
    def fresh(**_):
        """A command of this test."""

    context = click.Context(fresh, info_name="hyseg fresh", auto_envvar_prefix="HYSEG_FRESH")
    page = command_page(context, fresh)
    assert "### `--brand-new TEXT` { #brand-new }" in page
    assert r"Does \<what\> it \*says\*." in page
    assert "HYSEG_FRESH_BRAND_NEW" in page


def test_exit_codes_are_those_of_help_and_of_the_errors():
    page = (DOCS / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    rows = {int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    in_help = {int(number) for number in re.findall(r"\d+", cli.epilog)}
    assert in_help == rows - {141}
    raised = {kind.exit_code for kind in vars(kinds).values() if hasattr(kind, "exit_code")}
    assert raised <= rows


def test_the_tags_of_a_map_are_described(scene_folder, lively_model, tmp_path):
    import rasterio

    out = tmp_path / "map.tif"
    words = ["predict", scene_folder / "images" / "east.tif", "--out", out, "-m", lively_model]
    assert CliRunner().invoke(cli, [*map(str, words), "--tile-size", "128"]).exit_code == 0
    with rasterio.open(out) as file:
        tags = {name for name in file.tags() if name.startswith("HYSEG_")}
    page = (DOCS / "reference" / "outputs.md").read_text(encoding="utf-8")
    assert tags
    assert tags <= set(re.findall(r"`(HYSEG_\w+)`", page))


def test_the_keys_of_a_model_card_are_described(lively_model):
    import json

    from hyseg_cli.learn.model.card import read_card

    page = (DOCS / "reference" / "model-file.md").read_text(encoding="utf-8")
    described = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", page, re.MULTILINE)))
    )
    assert set(json.loads(read_card(lively_model).to_json())) <= described


# ---- errors -----------------------------------------------------------------------------------

# Messages that are those of another error, which stands in the catalogue by itself.
HANDED_ON = {"<error>", "`preset`: <error>"}


def test_every_message_can_be_read_in_the_source():
    assert len(errors()) > 200
    for raised in errors():
        if raised.message not in HANDED_ON:
            words = re.findall(r"[a-z]{2,}", re.sub(r"<[^>]*>", "", raised.message))
            assert len(words) >= 2, raised


def calls_in(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def called(call):
    return ast.unparse(call.func).rpartition(".")[2]


def makers_of_errors(trees):
    """Functions in which an error is made of what they are given."""
    found = set()
    for tree in trees:
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            given = {arg.arg for arg in (*function.args.args, *function.args.kwonlyargs)}
            for call in calls_in(function):
                used = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
                if called(call) in EXIT_CODES and used & given - {"self"}:
                    found.add(function.name)
    return found


def test_every_text_that_an_error_is_made_of_is_in_the_catalogue():
    """Another way to look: each phrase in the source that goes into an error, however it goes."""
    trees = {k: v for k, v in sources().trees.items() if k != "hyseg_cli.errors"}
    told = "\n".join(f"{raised.message}\n{raised.hint}" for raised in errors())
    makers = makers_of_errors(trees.values())
    assert {"check", "unusable", "unwritable"} <= makers
    phrases = {
        node.value
        for tree in trees.values()
        for call in calls_in(tree)
        if called(call) in EXIT_CODES
        or (isinstance(call.func, ast.Name) and called(call) in makers)
        for node in ast.walk(call)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    phrases = {phrase for phrase in phrases if len(phrase) > 10 and " " in phrase.strip()}
    assert len(phrases) > 300
    assert {phrase for phrase in phrases if phrase not in told} == set()


@pytest.mark.parametrize(
    ("words", "code_of_exit"),
    [
        (["predict", "none.tif", "--out", "map.tif"], 2),
        (["predict", "x.tif", "--out", "map.tif", "--batch-size", "0"], 2),
        (["predict", "x.tif", "--out", "map.tif", "--band", "a"], 2),
        (["vectorize", "none.tif", "--out", "map.gpkg"], 2),
        (["vectorize", "none.tif", "--out", "map.gpkg", "--simplify", "1 mile"], 2),
        (["train", "--images", "none", "--labels", "none", "--out", "m.safetensors"], 2),
        (["train", "--out", "m.txt"], 2),
        (["info", "none.safetensors"], 2),
        (["sample", "none.tif", "--out", "p.gpkg", "--target-se", "0"], 2),
    ],
)
def test_what_is_told_is_in_the_catalogue(words, code_of_exit, tmp_path, monkeypatch):
    """Not what the sources say, but what comes out of commands that fail."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == code_of_exit
    told = re.sub(
        r"^Error: (Invalid value for .*?: )?",
        "",
        done.stderr.splitlines()[-2 if "Hint" in done.stderr else -1],
    )
    known = [
        r for r in errors() if r.code == str(code_of_exit) and _pattern(r.message).fullmatch(told)
    ]
    assert known, told


def _pattern(message):
    return re.compile(
        re.sub(r"<[^>]*>", "(.*?)", re.escape(message).replace(r"\ ", " ")).replace(r"\<", "<")
    )


def test_a_message_is_followed_through_the_functions_that_make_it():
    found = Sources(
        {
            "hyseg_cli.one": (
                "def bad(path, problem):\n"
                "    return HysegError(f'{path} is bad: {problem}', hint='Mend it.')\n"
                "def read(path, n):\n"
                "    if n: raise bad(path, f'it has {n} bands')\n"
                "    raise bad(path, 'it is ' + ('old' if path else 'new'))\n"
            ),
            "hyseg_cli.two": (
                "from hyseg_cli.one import bad\n"
                "def open(path):\n"
                "    problem = 'nothing in it'\n"
                "    raise bad(path, problem) from None\n"
            ),
        }
    ).errors()
    assert {(r.module, r.message, r.hint) for r in found} == {
        ("hyseg_cli.one", "<path> is bad: it has <n> bands", "Mend it."),
        ("hyseg_cli.one", "<path> is bad: it is old", "Mend it."),
        ("hyseg_cli.one", "<path> is bad: it is new", "Mend it."),
        ("hyseg_cli.two", "<path> is bad: nothing in it", "Mend it."),
    }


def test_every_error_is_in_the_catalogue(site):
    text = text_of(site / "reference" / "errors.html")
    typed = flag_writer(command for _, command in all_commands())
    for raised in errors():
        for part in map(typed, (raised.message, raised.hint)):
            assert re.sub(r"\s+", " ", part.strip()) in re.sub(r"\s+", " ", text), part


def test_the_catalogue_has_a_place_for_each_group():
    """Groups that no paragraph speaks of would stand at the end, without cause and cure."""
    page = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    wanted = PLACEHOLDER.findall(page)
    assert len(wanted) == len(set(wanted))
    assert {(raised.code, subject_of(raised)) for raised in errors()} == set(wanted)
    assert "## Others" not in fill(page)
    assert "## Others" in fill(page.replace("<!-- errors: 5 maps -->", ""))


def test_every_subject_is_of_modules_that_exist():
    modules = {name.removeprefix("hyseg_cli.") for name in sources().trees}
    for starts in SUBJECTS.values():
        for start in starts:
            assert any(re.match(rf"{re.escape(start)}($|[._])", name) for name in modules), start


def test_a_message_with_backticks_is_shown_as_it_is():
    assert code("type `unset X`") == "`` type `unset X` ``"
    assert code("plain") == "`plain`"


# ---- man pages --------------------------------------------------------------------------------


def test_man_pages_are_made_of_the_same_source(tmp_path):
    files = {file.name: file.read_text(encoding="utf-8") for file in write_manual(tmp_path / "man")}
    assert set(files) == {"hyseg.1"} | {
        context.command_path.replace(" ", "-") + ".1" for context, _ in all_commands()
    }
    for context, _ in all_commands():
        page = files[context.command_path.replace(" ", "-") + ".1"].replace("\\-", "-")
        for flag in named_in_help(context.command_path.split()[1:]):
            assert flag in page
        assert __version__ in page


def test_groff_reads_the_man_pages(tmp_path):
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not here")
    for page in write_manual(tmp_path):
        done = subprocess.run(
            [groff, "-man", "-Tutf8", "-ww", page], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), page.name
        assert "SYNOPSIS" in re.sub(r".\x08", "", done.stdout)


# ---- papers beside the code -------------------------------------------------------------------


def test_what_contributing_names_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(
        r"`((?:hyseg_cli|models|tests|docs|examples|\.ci)/[\w./-]*|[A-Z]+\.md)`", text
    )
    assert len(paths) > 25
    for path in paths:
        assert (ROOT / path).exists(), path
    for target in re.findall(r"^make ([\w-]+)", text, re.MULTILINE):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8"), target


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert {"cff-version", "message", "title", "authors"} <= set(cited)


def test_the_workflow_calls_what_the_gate_calls():
    workflow = yaml.safe_load(
        (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    )
    job = workflow["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    called = [step["run"] for step in job["steps"] if "run" in step]
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert called == re.findall(r"^make .*$", gate, re.MULTILINE)
