"""The words about the nodes: in their schemas (English), in `locales/` (Chinese, Japanese) and in the help pages."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dev.host.packages import REPO
from support.host import Host

# A letter that only a text in the language has.
LETTERS = {"zh": r"[\u4e00-\u9fff]", "ja": r"[\u3041-\u3096\u30a1-\u30fa]"}
PAPERS = {"https://arxiv.org/abs/2301.12247", "https://arxiv.org/abs/2311.16711"}
NODES = (
    "SEGAConcept",
    "SEGAConceptFromConditioning",
    "SEGAConceptStack",
    "SEGASampler",
    "SEGASamplerCustom",
    "SEGAModelPatch",
    "SEGAInvert",
    "SEGAStrengths",
    "SEGAPreview",
    "SEGASaveGuidance",
    "SEGALoadGuidance",
    "SEGASaveConditioning",
    "SEGALoadConditioning",
)

languages = pytest.mark.parametrize("language", LETTERS)
each_node = pytest.mark.parametrize("node_id", NODES)


@pytest.fixture(scope="module")
def schemas(host: Host) -> dict[str, Any]:
    async def load() -> list[Any]:
        extension = await host.pack.comfy_entrypoint()
        return await extension.get_node_list()

    return {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in asyncio.run(load())}


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


def sentences(words: Any) -> dict[tuple[str, ...], str]:
    return {place: text for place, text in texts(words).items() if place[-1] in ("tooltip", "description")}


def page_of(node_id: str) -> Path:
    return REPO / "web" / "docs" / f"{node_id}.md"


def page_text(node_id: str) -> str:
    return page_of(node_id).read_text(encoding="utf-8")


def images_in(text: str) -> list[str]:
    return re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)


def test_these_are_all_the_nodes(schemas: dict[str, Any]) -> None:
    assert set(schemas) == set(NODES)


@each_node
def test_a_node_and_all_its_inputs_and_outputs_are_explained(schemas: dict[str, Any], node_id: str) -> None:
    assert all(isinstance(text, str) and text.strip() for text in texts(english_words(schemas[node_id])).values())


@each_node
def test_the_search_finds_a_node_by_the_methods_name(schemas: dict[str, Any], node_id: str) -> None:
    assert "semantic guidance" in schemas[node_id].search_aliases


def test_the_search_finds_what_people_call_a_concept(schemas: dict[str, Any]) -> None:
    wanted = {"edit guidance", "concept slider", "add object", "remove object", "negative prompt", "LEDITS++"}
    assert wanted <= set(schemas["SEGAConcept"].search_aliases)


def test_english_words_are_written_once() -> None:
    assert not (REPO / "locales" / "en" / "nodeDefs.json").exists()


@languages
def test_a_language_names_every_node_input_and_output_and_nothing_else(words: dict[str, Any], language: str) -> None:
    assert texts(words[language]).keys() == texts(words["en"]).keys()


@languages
def test_no_text_is_empty_or_left_in_english(words: dict[str, Any], language: str) -> None:
    assert all(text and text == text.strip() for text in texts(words[language]).values())
    english = [text for text in sentences(words[language]).values() if not re.search(LETTERS[language], text)]
    assert english == []


@languages
def test_ranges_and_defaults_are_those_of_the_english_text(words: dict[str, Any], language: str) -> None:
    english = sentences(words["en"])
    for place, text in sentences(words[language]).items():
        numbers = [sorted(re.findall(r"\d+(?:\.\d+)?", part)) for part in (text, english[place])]
        assert numbers[0] == numbers[1], place


@languages
def test_values_are_called_what_the_widget_shows(words: dict[str, Any], schemas: dict[str, Any], language: str) -> None:
    checked = 0
    for node_id, schema in schemas.items():
        for i in schema.inputs:
            for option in getattr(i, "options", None) or ():
                # A sentence about a value starts with it.
                if re.search(rf"(?:^|[.,;] ){re.escape(str(option))}\b", i.tooltip):
                    assert option in words[language][node_id]["inputs"][i.id]["tooltip"], (node_id, i.id)
                    checked += 1
    assert checked > 0


@languages
def test_the_editor_shows_names_and_descriptions_as_they_are_written(words: dict[str, Any], language: str) -> None:
    # It compiles all but tooltips as messages, in which these mean something.
    compiled = [text for place, text in texts(words[language]).items() if place[-1] != "tooltip"]
    assert [text for text in compiled if re.search(r"[{}@|]", text)] == []


def test_every_page_is_about_a_node_and_every_node_has_its_page() -> None:
    assert set((REPO / "web" / "docs").rglob("*.md")) == {page_of(node_id) for node_id in NODES}


@each_node
def test_a_page_is_titled_with_its_nodes_name(schemas: dict[str, Any], node_id: str) -> None:
    assert page_text(node_id).splitlines()[0] == f"# {schemas[node_id].display_name}"


@each_node
def test_a_page_explains_every_input_by_its_name_and_no_other(schemas: dict[str, Any], node_id: str) -> None:
    section = page_text(node_id).split("\n## Inputs")[1].split("\n## ")[0]
    items = re.findall(r"^- ((?:`\w+`, )*`\w+`): ", section, re.MULTILINE)
    explained = [name for item in items for name in re.findall(r"\w+", item)]
    assert sorted(explained) == sorted(i.id for i in schemas[node_id].inputs)


@each_node
def test_a_page_shows_pictures_that_are_there(node_id: str) -> None:
    shown = images_in(page_text(node_id))
    assert shown
    for image in shown:
        assert re.fullmatch(r"images/\w+\.webp", image)
        assert (REPO / "web" / "docs" / image).is_file(), image


def test_every_picture_is_on_a_page_and_all_are_light() -> None:
    docs = REPO / "web" / "docs"
    files = list((docs / "images").iterdir())
    shown = {docs / image for node_id in NODES for image in images_in(page_text(node_id))}
    assert set(files) == shown
    assert sum(file.stat().st_size for file in files) < 900_000


@each_node
def test_a_page_names_other_nodes_as_they_are_called(schemas: dict[str, Any], node_id: str) -> None:
    names = {schema.display_name for schema in schemas.values()}
    named = set(re.findall(r"\*\*(SEGA [^*]+)\*\*", page_text(node_id).replace("\n", " ")))
    assert named
    assert named <= names


@each_node
def test_links_lead_to_the_papers(node_id: str) -> None:
    # The editor leaves links as they are: one to another page would lead nowhere.
    links = re.findall(r"(?<!!)\[[^\]]+\]\(([^)]+)\)", page_text(node_id))
    assert links
    assert set(links) <= PAPERS


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
