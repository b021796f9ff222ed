"""The editor's templates: what belongs to each is there, and their links hold."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import tomllib
from PIL import Image

from dev.host.packages import REPO
from dev.make import blueprints

FOLDER = REPO / "example_workflows"
NAMES = sorted(file.stem for file in (FOLDER / "api").glob("*.json"))


def template(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_every_workflow_has_a_template_and_a_thumbnail() -> None:
    for ending in ("json", "jpg"):
        assert sorted(file.stem for file in FOLDER.glob(f"*.{ending}")) == NAMES
    for file in FOLDER.glob("*.jpg"):
        with Image.open(file) as picture:
            assert (picture.format, picture.size) == ("JPEG", (512, 512))
        assert file.stat().st_size < 60_000


def twin(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))


def inputs_of(workflow: dict[str, Any], class_type: str) -> list[dict[str, Any]]:
    return [node["inputs"] for node in workflow.values() if node["class_type"] == class_type]


def test_the_first_edit_is_a_text_and_the_prompt() -> None:
    (concept,) = inputs_of(twin("first_edit"), "SEGAConcept")
    (sampler,) = inputs_of(twin("first_edit"), "SEGASampler")
    assert concept.keys() == {"clip", "text", "prompt"}
    assert concept["text"] == "glasses"
    assert not sampler.keys() & {"mode", "momentum_scale", "momentum_beta", "reuse_steps"}


# The paper's example has the texts alone.
WITHOUT_PROMPT = {"four_concept_face"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_PROMPT])
def test_every_concept_is_given_the_text_that_the_positive_prompt_is_made_of(name: str) -> None:
    workflow = twin(name)
    concepts = inputs_of(workflow, "SEGAConcept")
    assert concepts or name == "load_guidance"
    for concept in concepts:
        source, _ = concept["prompt"]
        assert workflow[source]["_meta"]["title"] == "Prompt"
        (encoder,) = (node for node in workflow.values() if node["inputs"].get("text") == concept["prompt"])
        assert encoder["_meta"]["title"] == "Positive prompt"


@pytest.mark.parametrize("name", NAMES)
def test_a_templates_links_join_inputs_and_outputs_that_name_them(name: str) -> None:
    graph = template(name)
    nodes = {node["id"]: node for node in graph["nodes"]}
    links = {link[0]: link for link in graph["links"]}
    for number, origin, origin_slot, target, target_slot, kind in links.values():
        output, input = nodes[origin]["outputs"][origin_slot], nodes[target]["inputs"][target_slot]
        assert number in output["links"]
        assert input["link"] == number
        assert kind in (output["type"], input["type"])
    slots = [slot for node in nodes.values() for slot in node["inputs"]]
    assert {slot["link"] for slot in slots} - {None} == links.keys()


# The loaders, and the folder in models that each reads.
LOADERS = {
    "CheckpointLoaderSimple": "checkpoints",
    "UNETLoader": "diffusion_models",
    "CLIPLoader": "text_encoders",
    "VAELoader": "vae",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_template_says_which_files_its_loaders_need_and_where_they_are(name: str) -> None:
    graph = template(name)
    loaders = [node for node in graph["nodes"] if "Loader" in node["type"]]
    (note,) = (node for node in graph["nodes"] if node["type"] == "MarkdownNote")
    lines = []
    for loader in loaders:
        (model,) = loader["properties"]["models"]
        assert model["name"] == loader["widgets_values"][0]
        assert model["directory"] == LOADERS[loader["type"]]
        assert re.fullmatch(rf"https://huggingface\.co/[^ ]+/resolve/main/.*{re.escape(model['name'])}", model["url"])
        lines.append(f"[{model['name']}]({model['url']}) in *models/{model['directory']}*")
    listed = re.findall(r"^- (\[.*\*)", note["widgets_values"][0], re.MULTILINE)
    assert sorted(listed) == sorted(lines) != []


@pytest.mark.parametrize("name", NAMES)
def test_a_templates_nodes_say_which_pack_they_are_from(name: str) -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for node in template(name)["nodes"]:
        properties = node["properties"]
        if node["type"].startswith("SEGA"):
            assert (properties["cnr_id"], properties["ver"]) == (project["name"], project["version"])
        elif node["type"] != "MarkdownNote":
            assert properties["cnr_id"] == "comfy-core"
            assert re.fullmatch(r"\d+\.\d+\.\d+", properties["ver"])


@pytest.mark.parametrize("name", NAMES)
def test_a_template_holds_nothing_of_its_machine_and_keeps_its_seeds(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|Users|work)/|[A-Z]:\\|localhost|127\.0\.0\.1", text)
    # So that edits can be compared.
    assert '"fixed"' in text
    assert '"randomize"' not in text


def contents(nodes: list[dict[str, Any]]) -> dict[int, tuple[str, Any]]:
    return {node["id"]: (node["type"], node.get("widgets_values") or []) for node in nodes}


def test_a_blueprint_has_its_templates_nodes_and_values() -> None:
    assert {file.stem for file in blueprints.FOLDER.glob("*.json")} == blueprints.BLUEPRINTS.keys()
    for name, blueprint in blueprints.BLUEPRINTS.items():
        graph = json.loads((blueprints.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        (subgraph,) = graph["definitions"]["subgraphs"]
        inside, whole = contents(subgraph["nodes"]), contents(template(blueprint.template)["nodes"])
        assert inside.keys() == whole.keys() - {*blueprint.outside}
        # A field on the outside decides, whatever is inside.
        for node_id in inside.keys() - {node_id for node_id, *_ in blueprint.fields.values()}:
            assert inside[node_id] == whole[node_id], name
