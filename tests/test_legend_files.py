import json

import pytest

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.classes.styles import ClassStyle
from hyseg_cli.geo.classes.symbology import to_qml
from hyseg_cli.legend import Legend, LegendClass, read_legend

EXPECTED = Legend(
    (
        LegendClass(id=10, name="tree cover", color=(0, 100, 0)),
        LegendClass(id=80, name="water", color=(0, 100, 200)),
    )
)

RASTER_STYLE = """<qgis><pipe><rasterrenderer type="paletted"><colorPalette>
<paletteEntry value="10" color="#006400" label="tree cover" alpha="255"/>
<paletteEntry value="80" color="#0064c8" label="water" alpha="255"/>
</colorPalette></rasterrenderer></pipe></qgis>"""

OLD_VECTOR_STYLE = """<qgis><renderer-v2 type="categorizedSymbol" attr="kind"><categories>
<category symbol="0" value="10" label="tree cover"/><category symbol="1" value="80" label="water"/>
<category symbol="1" value="" label="the rest"/></categories><symbols>
<symbol name="0" type="fill"><layer><prop k="color" v="0,100,0,255"/></layer></symbol>
<symbol name="1" type="fill"><layer><prop k="color" v="0,100,200,255"/></layer></symbol>
</symbols></renderer-v2></qgis>"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(EXPECTED.to_dict())),
        ("a.csv", "id,name,color\n10,tree cover,#006400\n80,water,#0064c8\n"),
        ("a.csv", "\ufeffValue,Label,Red,Green,Blue\n10,tree cover,0,100,0\n80,water,0,100,200\n"),
        ("a.csv", "class, name, id, r, g, b\nx, tree cover, 10, 0, 100, 0\ny, water, 80,0,100,200"),
        ("a.qml", RASTER_STYLE),
        ("a.qml", OLD_VECTOR_STYLE),
        ("a.clr", "10 0 100 0 255 tree cover\n80 0 100 200 255 water\n"),
        ("a.clr", "# value r g b\n10 0 100 0 tree cover\n\n80 0 100 200 water\n"),
    ],
)
def test_every_format_gives_the_same_legend(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_legend(tmp_path / name) == EXPECTED


def test_the_style_that_vectorize_writes_is_a_legend(tmp_path):
    styles = {c.id: ClassStyle(c.name, c.color) for c in EXPECTED.classes}
    (tmp_path / "a.qml").write_text(to_qml(styles))
    legend = read_legend(tmp_path / "a.qml")
    assert legend.names == EXPECTED.names
    assert [c.color for c in legend.classes] == [c.color for c in EXPECTED.classes]


def test_colours_may_be_left_out_of_a_table(tmp_path):
    (tmp_path / "a.csv").write_text("id,name\n0,land\n1,water\n")
    legend = read_legend(tmp_path / "a.csv")
    assert legend.names == ("land", "water")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.json", "{", "JSONDecodeError"),
        ("a.json", "{}", "KeyError"),
        ("a.csv", "", "no classes"),
        ("a.csv", "number,name\n1,a\n", "no column id or value"),
        ("a.csv", "id,name\none,a\n", "invalid literal"),
        ("a.qml", "<qgis>", "ParseError"),
        ("a.qml", "<qgis/>", "no classes"),
        ("a.clr", "1 2 3\n", "not enough values"),
        ("a.clr", "1 red green blue\n", "invalid literal"),
    ],
)
def test_what_is_no_legend_is_told(tmp_path, name, text, problem):
    (tmp_path / name).write_text(text)
    with pytest.raises(HysegError, match=problem):
        read_legend(tmp_path / name)


def test_a_missing_file_and_an_unknown_format_are_told(tmp_path):
    with pytest.raises(UsageProblemError, match="no such legend"):
        read_legend(tmp_path / "none.json")
    with pytest.raises(UsageProblemError, match="a legend ends in"):
        read_legend(tmp_path / "legend.docx")
