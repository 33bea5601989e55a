"""Every id of a source that is cited, such as O6 or F13, is explained in docs/sources.md.

An id is a capital letter and a number. A score (F1), a rule of a linter (B5), a paper size (A4)
or a layer (C4) look the same, so a citation is what stands where citations stand:

- in parentheses: alone, in a list, before what it says, or after other sources:
  `(O6)`, `(D2, L12)`, `(O3–O5)`, `(F15: one value)`, `(Krizhevsky 2012; D2)`;
- at the start of a docstring, before a colon, a comma, "and" or "corrected": `\"""F3, one of each`;
- before a colon, at the start of a comment or after a semicolon: `# L5: …`, `…; L11: …`;
- between the semicolons of a finding's `source="L14, O6; Hochreiter 1991; F14"`;
- after the words `lecture notes`, and in the sentence after `lecture ids:`.

In Python only strings and comments are read. `O3–O5` cites O3, O4 and O5.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "sources.md"

ID = r"\b[A-Z][1-9]\d?\b"
ITEM = rf"{ID}(?:–{ID})?"
ITEMS = rf"{ITEM}(?:(?:[,;]|\sand)\s+(?:#\s*)?{ITEM})*"
PLACES = [
    rf"\(({ITEMS})[):;]",
    rf";\s({ITEMS})\)",
    rf'"""({ITEMS})(?=[:,]|\sand\s|\scorrected\b)',
    rf"(?:#|;)\s({ITEMS}):\s",
    rf"\blecture\snotes?\s({ITEMS})",
    r"\blecture\sids:([^.]*)\.",
]
SOURCE = re.compile(r'\bsource="([^"]*)"')
ROW = re.compile(r"^\| ([A-Z]\d{1,2}) \|", re.M)
SPOKEN = {"COMMENT", "STRING", "FSTRING_MIDDLE"}


def expanded(items):
    """`D2, O3–O5` → D2, O3, O4, O5."""
    for first, last in re.findall(rf"({ID})(?:–({ID}))?", items):
        numbers = range(int(first[1:]), int((last or first)[1:]) + 1)
        yield from (f"{first[0]}{n}" for n in numbers)


def cited(text):
    """The ids that a text cites."""
    found = [items for place in PLACES for items in re.findall(place, text)]
    pieces = (piece.strip() for source in SOURCE.findall(text) for piece in source.split(";"))
    found += [piece for piece in pieces if re.fullmatch(ITEMS, piece)]
    return {one for items in found for one in expanded(items)}


def spoken(path):
    """What a file says: of Python its strings, its comments and the sources of its findings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    said = [t.string for t in tokens if tokenize.tok_name[t.type] in SPOKEN]
    return "\n".join(said + [match[0] for match in SOURCE.finditer(text)])


def pages(root):
    """What is searched: the package, the tests but this one, and everything that is documented."""
    code = [*(root / "src" / "striate").rglob("*.py"), *(root / "tests").rglob("*.py")]
    texts = [root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").glob("*.md")]
    return [path for path in sorted(code + texts) if path != Path(__file__)]


def citations(root):
    """{id: the files that cite it}."""
    found = {}
    for path in pages(root):
        for one in cited(spoken(path)):
            found.setdefault(one, []).append(str(path.relative_to(root)))
    return found


def explained():
    """The ids that have a row in docs/sources.md, in its order."""
    return ROW.findall(PAGE.read_text(encoding="utf-8"))


def missing(found):
    """The part of the citations that the page does not explain."""
    known = set(explained())
    return {one: files for one, files in sorted(found.items()) if one not in known}


def test_every_cited_id_is_explained():
    assert missing(citations(ROOT)) == {}, "give each of these a row in docs/sources.md"


def test_the_rule_finds_what_is_cited():
    found = citations(ROOT)
    assert {"O6", "F13", "D2", "L14", "M5", "E1", "T3"} <= found.keys()
    assert "src/striate/optim/rules.py" in found["O4"]  # it cites O3–O5
    assert "src/striate/doctor/layers.py" in found["F14"]  # the end of a finding's source
    assert "docs/doctor.md" in found["O6"]
    assert "src/striate/core/recipe.py" in found["T6"]  # the end of a sentence of ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("the rate (O6).", "O6"),
        ("labels (D3, F7–F9), and", "D3 F7 F8 F9"),
        ("(L10, L12,\n    L14)", "L10 L12 L14"),
        ("two values (F15: batch norm)", "F15"),
        ("colours (Krizhevsky 2012; D2)", "D2"),
        ('"""L14, M1: with zero weights', "L14 M1"),
        ('"""F3, one of each: the step', "F3"),
        ('"""T5 corrected: training loss', "T5"),
        ("2.3026; L11: the hinge", "L11"),
        ("1,  # F15: 33 + 32", "F15"),
        ('source="L14, O6; Glorot 2010; F14"', "F14 L14 O6"),
        ("source: lecture notes O6, T5; Goodfellow", "O6 T5"),
        ("lecture ids: data D1–D3, loss L11,\nthe rule O4. Not T9", "D1 D2 D3 L11 O4"),
    ],
)
def test_a_citation(text, ids):
    assert sorted(cited(text)) == sorted(ids.split())


@pytest.mark.parametrize(
    "text",
    [
        "macro F1 and F1 of a class",
        '{"f1": "F1", "macro f1": "macro F1"}',
        'page.pdf(format="A4")',
        "# noqa: E501, N812",
        '"select": ["C4", "B5"]',
        "images (N, C1, H, W), maps (C1, H)",
        "torch.nn.functional is F; a P30 lens",
        "sha256 (B0F2…), resnet18 (R18x)",
        'source="Karpathy, CS231n notes"',
        '"""F1 of each class',
    ],
)
def test_no_citation(text):
    assert cited(text) == set()


def test_python_is_read_in_strings_and_comments_only(tmp_path):
    path = tmp_path / "code.py"
    path.write_text('"""A rule (O6)."""\nx = f(D2)  # L5: drawn\nsay(source="T5; F14")\n')
    assert cited(spoken(path)) == {"O6", "L5", "T5", "F14"}


def test_an_invented_id_would_be_reported(tmp_path):
    module = tmp_path / "src" / "striate" / "rule.py"
    module.parent.mkdir(parents=True)
    module.write_text('"""An update rule (O6, Z9)."""\n')
    for name in ("README.md", "CONTRIBUTING.md"):
        (tmp_path / name).write_text("Nothing is cited here.\n")
    assert missing(citations(tmp_path)) == {"Z9": ["src/striate/rule.py"]}


def test_each_id_has_one_row_under_its_letter():
    assert len(explained()) == len(set(explained()))
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        assert {one[0] for one in ROW.findall(body)} <= {heading[0]}, heading
