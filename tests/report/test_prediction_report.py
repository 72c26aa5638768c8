"""The report of `hyseg predict`: what it says, and that nothing is outside of it."""

from __future__ import annotations

import re

ODD_NAME = 'open <water> & "ice"'


def test_the_page_loads_nothing(mapped):
    text = mapped[0].read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text) == []
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text


def test_the_table_holds_the_areas_of_the_run(mapped):
    page, numbers = mapped
    text = page.read_text(encoding="utf-8")
    table = text[text.index('<section id="areas">') :]
    classes = [entry for entry in numbers["classes"] if entry["id"] != 255]
    for entry in classes:
        assert f"<td>{entry['pixels']:,}</td>" in table
        assert f"<td>{entry['hectares']:,.2f}</td>" in table
    pixels = sum(entry["pixels"] for entry in classes)
    assert f"<td>{pixels:,}</td>" in table
    # The largest class comes first.
    shown = [int(n.replace(",", "")) for n in re.findall(r"<td>([\d,]+)</td>", table)][:-1]
    assert shown == sorted((entry["pixels"] for entry in classes), reverse=True)


def test_names_are_text_and_never_markup(mapped):
    text = mapped[0].read_text(encoding="utf-8")
    assert ODD_NAME not in text
    assert "open &lt;water&gt; &amp; &#34;ice&#34;" in text


def test_the_page_tells_where_it_comes_from(mapped):
    page, numbers = mapped
    text = page.read_text(encoding="utf-8")
    provenance = text[text.index('<section id="provenance">') :]
    for told in ("east.tif", "map.tif", numbers["model"], "red = 1, green = 2, blue = 3", "UTM"):
        assert told in provenance
    assert "tile-size" in provenance
    assert "resume" not in provenance
