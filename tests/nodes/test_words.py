"""Every node, input, output and message has its words in each language and its place on a help page."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from dev.host.packages import REPO
from support.host import Host

# A letter that only a text in the language has.
LETTERS = {"zh": r"[\u4e00-\u9fff]", "ja": r"[\u3041-\u3096\u30a1-\u30fa]"}
DOCS = REPO / "web" / "docs"

languages = pytest.mark.parametrize("language", LETTERS)


@pytest.fixture(scope="module")
def schemas(host: Host) -> dict[str, Any]:
    return {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in host.pack.nodes.NODES}


@pytest.fixture(scope="module")
def words(schemas: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What each language calls the nodes, their inputs and their outputs, in the form of the editor's files."""
    files = {language: REPO / "locales" / language / "nodeDefs.json" for language in LETTERS}
    english = {node_id: english_words(schema) for node_id, schema in schemas.items()}
    return {"en": english, **{key: json.loads(file.read_text(encoding="utf-8")) for key, file in files.items()}}


def english_words(schema: Any) -> dict[str, Any]:
    inputs = {i.id: {"name": i.display_name or i.id, "tooltip": i.tooltip} for i in schema.inputs}
    outputs = {str(n): {"name": o.display_name, "tooltip": o.tooltip} for n, o in enumerate(schema.outputs)}
    words = {"display_name": schema.display_name, "description": schema.description, "inputs": inputs}
    return words | ({"outputs": outputs} if outputs else {})


def texts(words: Any, place: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return each text and where it stands."""
    if not isinstance(words, dict):
        return {place: words}
    return {key: text for name, part in words.items() for key, text in texts(part, (*place, name)).items()}


def test_every_node_input_and_output_is_explained_in_english(words: dict[str, dict[str, Any]]) -> None:
    assert [place for place, text in texts(words["en"]).items() if not (text or "").strip()] == []


@languages
def test_a_language_names_every_node_input_and_output_and_nothing_else(words: dict[str, Any], language: str) -> None:
    assert texts(words[language]).keys() == texts(words["en"]).keys()


@languages
def test_no_text_is_empty_or_left_in_english(words: dict[str, Any], language: str) -> None:
    translated = texts(words[language])
    assert all(text.strip() for text in translated.values())
    sentences = {place: text for place, text in translated.items() if place[-1] in ("tooltip", "description")}
    assert [place for place, text in sentences.items() if not re.search(LETTERS[language], text)] == []


@languages
def test_the_editor_shows_names_and_descriptions_as_they_are_written(words: dict[str, Any], language: str) -> None:
    # It compiles all but tooltips as messages, in which these mean something.
    compiled = [text for place, text in texts(words[language]).items() if place[-1] != "tooltip"]
    assert [text for text in compiled if re.search(r"[{}@|]", text)] == []


def test_every_node_has_a_page_that_explains_each_of_its_inputs(schemas: dict[str, Any]) -> None:
    # Where the editor looks: for a page in its language first, then for the English one.
    places = {f"{name}{end}" for name in schemas for end in (".md", *(f"/{language}.md" for language in LETTERS))}
    assert {file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*.md")} == places
    for node_id, schema in schemas.items():
        section = (DOCS / f"{node_id}.md").read_text(encoding="utf-8").split("\n## Inputs")[1].split("\n## ")[0]
        items = re.findall(r"^- ((?:`\w+`, )*`\w+`): ", section, re.MULTILINE)
        explained = [name for item in items for name in re.findall(r"\w+", item)]
        assert sorted(explained) == sorted(i.id for i in schema.inputs), node_id


def test_every_picture_of_a_page_is_there_and_every_link_leads_somewhere() -> None:
    pages = [file.read_text(encoding="utf-8") for file in DOCS.glob("*.md")]
    shown = {image for page in pages for image in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)}
    assert shown == {file.relative_to(DOCS).as_posix() for file in (DOCS / "images").iterdir()}
    # The editor shows a page by itself: a link to another page leads nowhere.
    links = {link for page in pages for link in re.findall(r"(?<!!)\[[^\]]+\]\(([^)]+)\)", page)}
    assert {link for link in links if not link.startswith("https://")} == set()


@languages
def test_a_translated_page_has_the_pictures_links_and_names_of_the_english_one(language: str) -> None:
    for english in DOCS.glob("*.md"):
        page, translated = (
            file.read_text(encoding="utf-8") for file in (english, DOCS / english.stem / f"{language}.md")
        )
        assert re.search(LETTERS[language], translated), english.stem
        # The editor resolves addresses as if the page lay beside the English one.
        for thing in (r"\]\(([^)]+)\)", r"`(\w+)`"):
            assert {*re.findall(thing, translated)} == {*re.findall(thing, page)}, english.stem


@languages
@pytest.mark.parametrize("file", ["main.json", "commands.json"])
def test_the_extensions_words_are_there_in_each_language(language: str, file: str) -> None:
    english, translated = (
        texts(json.loads((REPO / "locales" / key / file).read_text(encoding="utf-8"))) for key in ("en", language)
    )
    assert list(translated) == list(english)
    for place, text in translated.items():
        assert text.strip()
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", english[place])), place


def test_the_extension_uses_each_of_its_words() -> None:
    scripts = "".join(file.read_text(encoding="utf-8") for file in (REPO / "web").glob("*.js"))
    used = set(re.findall(r'\bword\("(\w+)"', scripts))
    assert used == json.loads((REPO / "locales/en/main.json").read_text(encoding="utf-8"))["sega"].keys()
    commands = {command.replace(".", "_") for command in re.findall(r'\bid: "(SEGA\.\w+)"', scripts)}
    assert commands == json.loads((REPO / "locales/en/commands.json").read_text(encoding="utf-8")).keys()
