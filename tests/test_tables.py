"""Tables of the book: what a reader, and a screen reader, finds in them."""

import xml.etree.ElementTree as ET

from jacntk_book.tables import table


def parsed(*arguments):
    return ET.fromstring(table(*arguments).data)


def test_every_cell_stands_under_its_head_and_the_first_names_the_row():
    found = parsed("What <b>it</b> shows", ["part", "error"], [["values", "0.1"], ["<code>J</code>", "0.2"]])
    assert "".join(found.find("caption").itertext()) == "What it shows"
    assert [th.text for th in found.findall("thead/tr/th")] == ["part", "error"]
    assert [[*"".join(cell.itertext()).split()] for row in found.findall("tbody/tr") for cell in row] == [
        ["values"],
        ["0.1"],
        ["J"],
        ["0.2"],
    ]
    assert [th.get("scope") for th in found.iter("th")] == ["col", "col", "row", "row"]


def test_columns_of_numbers_and_only_those_are_set_as_numbers():
    rows = [
        ["a", -1.5, "3 s", "0.1 [-0.2, 0.4]", "1", "-1 of far too many words to keep on one line"],
        ["b", "8 times as long", "", "7", "none", "2"],
    ]
    found = parsed("", ["name", "number", "gap", "interval", "mixed", "prose"], rows)
    classes = [td.get("class") for td in found.find("tbody/tr").findall("td")]
    assert classes == ["number", "number", "number", "number", None]
    cells = [td.text for td in found.find("tbody/tr").findall("td")]
    assert cells[0] == "\u22121.5"
    assert cells[1] == "3\u00a0s"
    assert found.findall("tbody/tr/td")[5].text == "8 times as long"
    assert cells[2] == "0.1 [\u22120.2,\u00a00.4]"
    assert cells[4].startswith("-1")


def test_no_number_breaks_inside_its_exponent():
    joined = parsed("", ["name", "bracket"], [["a", "[1e-12, 2e-12] *"]]).find("tbody/tr/td").text
    assert joined == "[1e-\u206012, 2e-\u206012]\u00a0*"  # may break between the two, where a telephone has no room


def test_a_table_may_be_empty():
    found = parsed("", ["a", "b"], [])
    assert [th.text for th in found.iter("th")] == ["a", "b"]
    assert not found.findall("tbody/tr")
