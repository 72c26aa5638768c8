import json

from click.testing import CliRunner

from hyseg_cli.cli import cli
from hyseg_cli.learn.card import read_card
from hyseg_models.cost import measure_cost


def run(*arguments):
    return CliRunner().invoke(cli, ["info", *map(str, arguments)])


def test_a_model_is_told_with_its_legend_and_cost(tiny_model):
    result = run(tiny_model)
    assert result.exit_code == 0, result.output
    cost = measure_cost(read_card(tiny_model).config, 512)
    rows = {line[:16].strip(): line[16:].split() for line in result.stdout.splitlines()}
    for name in ("host", "condition", "prior", "P2A + DAS"):
        part = cost.parts[name]
        assert rows[name][0] == f"{part.parameters / 1e6:.2f}"
        assert rows[name][2] == f"{part.macs / 1e9:.2f}"
    assert "#fedd3a  vegetation" in result.stdout
    assert "head.p2a.kernel = 7" in result.stdout
    assert "red, green, blue (uint8)" in result.stdout


def test_json_holds_card_and_cost(tiny_model):
    values = json.loads(run(tiny_model, "--json").stdout)
    assert values["card"]["config"]["classes"] == 5
    parts = values["cost"]["1024"]["parts"]
    assert sum(part["macs"] for part in parts.values()) == values["cost"]["1024"]["whole"]["macs"]


def test_what_is_no_model_is_refused(tmp_path):
    assert run(tmp_path / "none.safetensors").exit_code == 2
    (tmp_path / "text.safetensors").write_text("hello")
    assert run(tmp_path / "text.safetensors").exit_code == 1
