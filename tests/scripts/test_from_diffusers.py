"""The command that makes a workflow of a pipeline's call: what it reads, what it writes, what it refuses."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dev.host.packages import REPO

# The example of the reference's documentation; it gives five weights to four concepts.
DOCUMENTED = """
import torch
gen = torch.Generator(device=device)

gen.manual_seed(21)
out = pipe(prompt='a photo of the face of a woman', generator=gen, num_images_per_prompt=1, guidance_scale=7,
           editing_prompt=['smiling, smile',       # what to apply
                           'glasses, wearing glasses',
                           'curls, wavy hair, curly hair',
                           'beard, full beard, mustache'],
           reverse_editing_direction=[False, False, False, False], # add all of them
           edit_warmup_steps=[10, 10, 10,10],
           edit_guidance_scale=[4, 5, 5, 5.4],
           edit_threshold=[0.99, 0.975, 0.925, 0.96],
           edit_momentum_scale=0.3,
           edit_mom_beta=0.6,
           edit_weights=[1,1,1,1,1]
          )
images = out.images
"""


class Converted:
    """What became of a call: the workflow's inputs by node class, and the notes."""

    def __init__(self, tool: ModuleType, given: dict[str, Any] | str, pipeline: str = "diffusers") -> None:
        if isinstance(given, str):
            given, first = tool.read_call(given, pipeline)
        else:
            given, first = {"prompt": "a dog", "generator": 1, **given}, []
        self.nodes, notes = tool.convert(given, pipeline)
        self.notes = "\n".join(first + notes)

    def all(self, class_type: str) -> list[dict[str, Any]]:
        return [node["inputs"] for node in self.nodes.values() if node["class_type"] == class_type]

    def one(self, class_type: str) -> dict[str, Any]:
        (inputs,) = self.all(class_type)
        return inputs

    def behind(self, link: list[Any]) -> dict[str, Any]:
        return self.nodes[link[0]]["inputs"]

    @property
    def sampler(self) -> dict[str, Any]:
        return self.one("SEGASampler")


@pytest.fixture
def converted(tool: ModuleType) -> Any:
    return lambda given, pipeline="diffusers": Converted(tool, given, pipeline)


def test_the_command_knows_diffusers_signature(tool: ModuleType) -> None:
    from diffusers import SemanticStableDiffusionPipeline

    parameters = list(inspect.signature(SemanticStableDiffusionPipeline.__call__).parameters.values())[1:]
    theirs = [(p.name, None if p.default is inspect.Parameter.empty else p.default) for p in parameters]
    assert list(tool.PIPELINES["diffusers"].items()) == theirs


def test_the_documented_example_is_the_shipped_workflow(converted: Any) -> None:
    got = converted(DOCUMENTED)
    want = json.loads((REPO / "example_workflows" / "api" / "four_concept_face.json").read_text())
    # The command keeps to what the pipeline computes.
    want["10"]["inputs"] |= {"scheduler": "ddim_uniform", "mode": "reference"}
    want["12"]["inputs"]["filename_prefix"] = "sega/from_diffusers"
    assert got.nodes == want
    assert "edit_weights: 5 values for 4 concepts, the last 1 ignored" in got.notes


def test_the_defaults_are_the_pipelines(converted: Any) -> None:
    got = converted({"editing_prompt": "glasses"})
    assert got.one("EmptyLatentImage") == {"width": 512, "height": 512, "batch_size": 1}
    assert got.one("SEGAConcept") == {
        "clip": ["1", 1],
        "text": "glasses",
        "direction": "add",
        "strength": 1.0,
        "threshold": 0.9,
        "threshold_over": "channel",
        "start_percent": 0.2,
        "end_percent": 1.0,
        "guidance_scale": 5.0,
        "weight": 1.0,
    }
    values = {"steps": 50, "cfg": 7.5, "denoise": 1.0, "momentum_scale": 0.1, "momentum_beta": 0.4}
    names = {"sampler_name": "euler", "scheduler": "ddim_uniform", "mode": "reference"}
    assert got.sampler.items() >= {**values, **names}.items()
    assert got.behind(got.sampler["negative"])["text"] == ""
    assert not got.all("SEGAConceptStack")


def test_prompts_are_texts_as_they_stand(converted: Any) -> None:
    got = converted({"prompt": "a (red) dog", "negative_prompt": "blurry", "editing_prompt": "hat (old)"})
    assert got.behind(got.sampler["positive"])["text"] == r"a \(red\) dog"
    assert got.behind(got.sampler["negative"])["text"] == "blurry"
    assert got.one("SEGAConcept")["text"] == r"hat \(old\)"
    empty = converted({"prompt": ""})
    assert empty.behind(empty.sampler["positive"])["text"] == ""


def test_several_prompts_share_the_concepts_and_the_noise(converted: Any) -> None:
    got = converted(
        {"prompt": ["a dog", "a cat", "a dog"], "num_images_per_prompt": 2, "editing_prompt": ["hat", "tie"]}
    )
    samplers = got.all("SEGASampler")
    assert [got.behind(sampler["positive"])["text"] for sampler in samplers] == ["a dog", "a cat", "a dog"]
    assert len({tuple(sampler["concepts"]) for sampler in samplers}) == 1
    assert len(got.all("CLIPTextEncode")) == 3
    assert got.one("EmptyLatentImage")["batch_size"] == 6
    assert [(part["batch_index"], part["length"]) for part in got.all("LatentFromBatch")] == [(0, 2), (2, 2), (4, 2)]
    assert len({image["filename_prefix"] for image in got.all("SaveImage")}) == 3


def test_size_number_steps_cfg_and_momentum(converted: Any) -> None:
    got = converted({"height": 640, "width": 384, "num_images_per_prompt": 4, "num_inference_steps": 25,
                     "guidance_scale": 3, "edit_momentum_scale": 0.3, "edit_mom_beta": 0.6})  # fmt: skip
    assert got.one("EmptyLatentImage") == {"width": 384, "height": 640, "batch_size": 4}
    assert got.sampler.items() >= {"steps": 25, "cfg": 3.0, "momentum_scale": 0.3, "momentum_beta": 0.6}.items()


def test_a_guidance_scale_without_cfg_is_cfg_1(converted: Any) -> None:
    got = converted({"guidance_scale": -2})
    assert got.sampler["cfg"] == 1.0
    assert "guidance_scale" in got.notes


def test_steps_that_do_not_divide_1000_keep_their_number(converted: Any) -> None:
    got = converted({"num_inference_steps": 30, "editing_prompt": "hat"})
    custom = got.one("SamplerCustom")
    assert got.behind(custom["sigmas"]).items() >= {"scheduler": "ddim_uniform", "steps": 30}.items()
    assert got.behind(custom["sampler"]) == {"sampler_name": "euler"}
    assert "concepts" in got.behind(custom["model"])
    assert custom["add_noise"] is True


def test_eta(converted: Any) -> None:
    assert converted({"eta": 1}).sampler["sampler_name"] == "euler_ancestral"
    got = converted({"eta": 0.4})
    assert got.one("SamplerEulerAncestral")["eta"] == 0.4
    assert "eta" in got.notes


@pytest.mark.parametrize(
    ("before", "generator", "seed", "drawn"),
    [
        ("", "torch.Generator('cuda').manual_seed(21)", 21, "cuda"),
        ("", "torch.Generator(device='cpu').manual_seed(22)", 22, None),
        ("", "torch.manual_seed(24)", 24, None),
        ("gen = torch.Generator(pipe.device).manual_seed(1)\ngen = gen.manual_seed(26)", "gen", 26, "pipe.device"),
        ("device = 'cuda'\nseed = 27\ngen = torch.Generator(device=device).manual_seed(seed)", "gen", 27, "cuda"),
        ("", "np.random.Generator(np.random.PCG64(28))", 28, "numpy"),
        ("rng = np.random.default_rng(seed=29)", "rng", 29, "numpy"),
        ("torch.manual_seed(30)", "None", 30, "the pipeline's device"),
    ],
)
def test_a_generator_gives_the_seed(before: str, generator: str, seed: int, drawn: str | None, converted: Any) -> None:
    got = converted(f"{before}\nimage = pipe('a dog', generator={generator}).images[0]")
    assert got.sampler["seed"] == seed
    noted = re.search(r"generator: its noise comes from (.+);", got.notes)
    assert (noted and noted[1]) == drawn


def test_without_a_generator_the_seed_is_0(converted: Any) -> None:
    got = converted("pipe('a dog')")
    assert got.sampler["seed"] == 0
    assert "generator: no seed given" in got.notes


def test_a_list_of_generators_gives_each_image_its_seed(converted: Any) -> None:
    got = converted(
        "pipe(['a dog', 'a cat'], num_images_per_prompt=2, editing_prompt='hat', "
        "generator=[torch.Generator().manual_seed(1), torch.Generator().manual_seed(2), torch.manual_seed(3), "
        "torch.Generator().manual_seed(4)])"
    )
    samplers = got.all("SEGASampler")
    assert [sampler["seed"] for sampler in samplers] == [1, 2, 3, 4]
    texts = [got.behind(sampler["positive"])["text"] for sampler in samplers]
    assert texts == ["a dog", "a dog", "a cat", "a cat"]
    assert got.one("EmptyLatentImage")["batch_size"] == 1


def test_latents(converted: Any) -> None:
    got = converted({"latents": "noise.latent"})
    assert got.one("LoadLatent") == {"latent": "noise.latent"}
    assert got.one("SamplerCustom")["add_noise"] is False
    assert not got.all("EmptyLatentImage")


def test_output_type(converted: Any) -> None:
    got = converted({"output_type": "latent"})
    assert got.one("SaveLatent")["filename_prefix"] == "sega/from_diffusers"
    assert not got.all("VAEDecode") + got.all("SaveImage")
    assert "output_type" in got.notes
    assert "output_type" in converted({"output_type": "np"}).notes


def test_what_has_no_counterpart_is_named(converted: Any) -> None:
    got = converted("pipe('a dog', return_dict=False, callback=show(1), callback_steps=every)")
    assert re.findall(r"(\w+): nothing in its place", got.notes) == ["return_dict", "callback", "callback_steps"]
    assert got.nodes == converted("pipe('a dog')").nodes


@pytest.mark.parametrize(
    ("pipeline", "name"),
    [("diffusers", "editing_prompt_embeddings"), ("semdiffusers", "editing_prompt_prompt_embeddings")],
)
def test_embeddings_take_the_texts_place(pipeline: str, name: str, converted: Any) -> None:
    call = {"editing_prompt": ["x", "y"], name: ["a", "b"], "edit_threshold": 0.9, "edit_guidance_scale": [1, 2]}
    got = converted(call, pipeline)
    first, second = got.all("SEGAConceptFromConditioning")
    assert [got.behind(concept["conditioning"])["file"] for concept in (first, second)] == ["a", "b"]
    assert (first["guidance_scale"], second["guidance_scale"]) == (1, 2)
    assert f"editing_prompt: {name} takes its place" in got.notes


def test_no_editing_prompt_is_the_plain_sampler(converted: Any) -> None:
    assert "concepts" not in converted({"editing_prompt": [], "edit_threshold": [0.5]}).sampler


@pytest.mark.parametrize(
    ("argument", "values", "name", "want"),
    [
        ("reverse_editing_direction", [False, True, None], "direction", ["add", "remove", "add"]),
        ("reverse_editing_direction", True, "direction", ["remove"] * 3),
        ("edit_guidance_scale", [1, 0, 5.4], "guidance_scale", [1.0, 0.0, 5.4]),
        ("edit_guidance_scale", [-2, 3, -4], "guidance_scale", [2.0, 3.0, 4.0]),
        ("edit_guidance_scale", [-2, 3, -4], "direction", ["remove", "add", "remove"]),
        ("edit_guidance_scale", [0, 1, -2], "strength", [0.0, 1.0, 1.0]),
        ("edit_warmup_steps", [0, 2.5, -3], "start_percent", [0.0, 0.06, 0.0]),
        ("edit_cooldown_steps", [11, 30.5, None], "end_percent", [0.22, 0.62, 1.0]),
        ("edit_cooldown_steps", [50, 51, 10**9], "end_percent", [1.0] * 3),
        ("edit_cooldown_steps", [20, 10, 0], "weight", [1.0, 0.0, 0.0]),
        ("edit_threshold", 0.8, "threshold", [0.8] * 3),
        ("edit_weights", [0.5, 0, -1], "weight", [0.5, 0.0, 0.0]),
        ("edit_weights", None, "weight", [1.0] * 3),
    ],
)
def test_settings_of_each_concept(argument: str, values: Any, name: str, want: list[Any], converted: Any) -> None:
    got = converted({"editing_prompt": ["a", "b", "c"], argument: values})
    assert [concept[name] for concept in got.all("SEGAConcept")] == want


def test_a_concept_that_begins_after_the_last_step_begins_before_the_end(converted: Any) -> None:
    got = converted({"editing_prompt": ["a", "b"], "edit_warmup_steps": [50, 10**9]})
    assert all(0.98 < concept["start_percent"] < concept["end_percent"] for concept in got.all("SEGAConcept"))


def test_sem_guidance(converted: Any) -> None:
    got = converted({"sem_guidance": "a.guidance.safetensors"})
    assert got.behind(got.sampler["guidance"]) == {"file": "a.guidance.safetensors"}
    got = converted({"sem_guidance": "a.guidance.safetensors", "num_inference_steps": 30})
    assert got.behind(got.one("SEGAModelPatch")["guidance"]) == {"file": "a.guidance.safetensors"}


@pytest.mark.parametrize(
    ("call", "note"),
    [
        ({"edit_threshold": [0.5, 0.6, 0.7]}, "edit_threshold: 3 values for 2 concepts"),
        ({"edit_cooldown_steps": [3, 20]}, "concept 1 never acts"),
        ({"edit_cooldown_steps": [3, 20]}, "feeds the reference's momentum"),
        ({"edit_weights": [-1, 1]}, "a negative weight is 0"),
        ({"sem_guidance": "a", "prompt": ["x", "y"]}, "it must be of one image"),
        ({"editing_prompt_embeddings": ["a", "b"], "prompt": ["x", "y"]}, "the reference mixes up"),
    ],
)
def test_what_differs_is_noted(call: dict[str, Any], note: str, converted: Any) -> None:
    assert note in converted({"editing_prompt": ["a", "b"], **call}).notes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"prompt": [3]}, "prompt must be a text or a list of texts"),
        ({"prompt": ["a", "b"], "negative_prompt": ["x"]}, "for each of the 2 prompts, got 1"),
        ({"height": 100}, "height must be divisible by 8, got 100"),
        ({"width": 8}, r"width must be in \[16, 16384\], got 8"),
        ({"num_inference_steps": 2.5}, "num_inference_steps must be a whole number, got 2.5"),
        ({"guidance_scale": "7"}, "guidance_scale must be a number, got '7'"),
        ({"prompt": ["a"] * 33, "num_images_per_prompt": 2}, "at most 64 images"),
        ({"generator": -1}, "generator must have a whole number"),
        ({"generator": [1, 2]}, "generator must have a generator for each of the 1 images, got 2"),
        ({"latents": [[0.1]]}, "latents must be the name of a file"),
        ({"output_type": "jpeg"}, "output_type must be pil, np, pt or latent, got 'jpeg'"),
        ({"editing_prompt": ["a"] * 101}, "at most 100 concepts, got 101"),
        ({"editing_prompt": ["a", "b"], "editing_prompt_embeddings": "x"}, "each of the 2 concepts, got 1"),
        ({"reverse_editing_direction": "no"}, "reverse_editing_direction must be True or False, got 'no'"),
        ({"edit_guidance_scale": 500}, r"edit_guidance_scale must be in \[-100, 100\], got 500"),
        ({"edit_cooldown_steps": [5]}, "edit_cooldown_steps must have a value for each of the 2 concepts, got 1"),
        ({"edit_threshold": [0.9, float("nan")]}, "edit_threshold must be a number, got nan"),
        ({"edit_mom_beta": 1}, r"edit_mom_beta must be in \[0, 0.999\], got 1"),
        ({"edit_weights": 2}, "edit_weights must be a list, got 2"),
        ({"strength": 1, "guidance": 2}, "the diffusers pipeline has no argument strength, guidance"),
        ({"editing_prompt_prompt_embeddings": "x"}, "it belongs to --pipeline semdiffusers"),
    ],
)
def test_a_bad_value_is_refused_by_name(call: dict[str, Any], message: str, converted: Any, tool: ModuleType) -> None:
    with pytest.raises(tool.CallError, match=message):
        converted({"editing_prompt": ["a", "b"], **call})


def test_the_official_defaults_for_edits_are_refused_by_name(converted: Any, tool: ModuleType) -> None:
    with pytest.raises(tool.CallError, match=r"edit_guidance_scale must be in \[-100, 100\], got 500"):
        converted({"editing_prompt": "a"}, "semdiffusers")
    with pytest.raises(tool.CallError, match="edit_threshold must be a number, got None"):
        converted({"editing_prompt": "a", "edit_guidance_scale": 5}, "semdiffusers")


@pytest.mark.parametrize(
    "source",
    [
        "pipe('a dog', 512, 512, 50, 7.5, 'blurry', generator=torch.Generator().manual_seed(1))",
        "    images = self.pipe(\n        prompt='a dog',  # what\n        negative_prompt=('blu' 'rry'),\n"
        "        generator=torch.manual_seed(1),\n    ).images",
        ">>> gen = torch.manual_seed(1)\nGenerator\n>>> pipe(\n...     prompt='a dog',\n"
        "...     negative_prompt='blurry', generator=gen)\n<output>",
        "%matplotlib inline\n!pip install diffusers\ntext = 'a dog'\n"
        "pipe(prompt=text, negative_prompt='blurry', generator=torch.manual_seed(1))",
        "call = {'prompt': 'a dog', 'negative_prompt': 'blurry'}\npipe(**call, generator=torch.manual_seed(1))",
        "SemanticStableDiffusionPipeline.from_pretrained('x').to('cuda')(prompt='a dog', negative_prompt='blurry', "
        "generator=torch.manual_seed(1))",
        '{"prompt": "a dog", "negative_prompt": "blurry", "generator": 1}',
    ],
)
def test_a_call_is_read_however_it_is_written(source: str, converted: Any) -> None:
    assert converted(source).nodes == converted({"negative_prompt": "blurry"}).nodes


def test_the_first_of_several_calls_is_converted(converted: Any) -> None:
    got = converted(
        "gen = torch.manual_seed(3)\npipe('a dog', generator=gen)\ngen.manual_seed(4)\npipe('a cat', generator=gen)"
    )
    assert got.behind(got.sampler["positive"])["text"] == "a dog"
    assert got.sampler["seed"] == 3
    assert "the first of 2 calls with a prompt is converted, line 2" in got.notes


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "no call with a prompt found"),
        ("pipe(prompt=", "line 1: neither a JSON object nor Python source"),
        ('{"prompt": "a",\n}', "line 2: not a JSON object"),
        ("pipe('a',\n  edit_threshold=limits)", "line 2: edit_threshold must be a literal value, got limits"),
        ("limit = 0.5\nlimit = f()\npipe('a', edit_threshold=limit)", "edit_threshold must be a literal value"),
        ("for limit in (0.5, 0.6):\n    pipe('a', edit_threshold=limit)", "edit_threshold must be a literal value"),
        ("pipe('a', latents=torch.randn(1))", "latents must be a literal value.*name a .latent file"),
        ("pipe('a', generator=make())", "line 1: generator must be a generator with a literal seed, got make()"),
        ("pipe('a', **b)", r"\*\* must be a literal value, got b"),
        ("pipe('a', edit_threshold=open('marker', 'w'))", "edit_threshold must be a literal value"),
    ],
)
def test_what_cannot_be_read_is_named(
    source: str, message: str, converted: Any, tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(tool.CallError, match=message):
        converted(source)
    assert not list(tmp_path.iterdir())


def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    # -S leaves out every installed package: the command needs none.
    command = [sys.executable, "-S", str(REPO / "scripts" / "from_diffusers.py"), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True)


def test_the_command_writes_the_workflow_and_says_what_differs(tmp_path: Path) -> None:
    (tmp_path / "call.py").write_text(DOCUMENTED)
    out = tmp_path / "workflow.json"
    done = run(str(tmp_path / "call.py"), "--checkpoint", "mine.safetensors", "--output", str(out))
    assert done.returncode == 0 and done.stdout == ""
    assert json.loads(out.read_text())["1"]["inputs"] == {"ckpt_name": "mine.safetensors"}
    notes = done.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in notes] == ["generator", "edit_weights", "scheduler"]
    assert all(line.startswith("note: ") for line in notes)


def test_the_command_fails_with_one_line(tmp_path: Path) -> None:
    done = run("-", "--output", str(tmp_path / "x.json"), text="pipe('a', edit_treshold=0.5)")
    assert done.returncode == 1
    assert done.stderr == "error: the diffusers pipeline has no argument edit_treshold\n"
    assert not (tmp_path / "x.json").exists()
    done = run(str(tmp_path / "missing.py"))
    assert done.returncode == 1 and "missing.py" in done.stderr and "Traceback" not in done.stderr
