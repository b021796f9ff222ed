"""Turn a call of a SEGA pipeline into a workflow in API format: `python scripts/from_diffusers.py CALL`.

CALL is a file, or - for standard input. It holds the keyword arguments as a JSON object, or Python source with the call
in it, as documentation shows it; the source is read, never run. docs/from_diffusers.md has a row for every argument.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
MAX_CONCEPTS = 100
MAX_IMAGES = 64
EMBEDDINGS = ("editing_prompt_embeddings", "editing_prompt_prompt_embeddings")
# Arguments that say how the pipeline hands over its result; their values are not looked at.
WITHOUT_COUNTERPART = {
    "return_dict": "the workflow saves its images instead of returning them",
    "callback": "ComfyUI shows progress and previews by itself",
    "callback_steps": "ComfyUI shows progress and previews by itself",
}
FROM_FILES = {
    "latents": "name a .latent file in ComfyUI's input folder",
    "editing_prompt_embeddings": "name the files that SEGA Save Conditioning wrote, one for each concept",
    "editing_prompt_prompt_embeddings": "name the files that SEGA Save Conditioning wrote, one for each concept",
    "sem_guidance": "name the file that SEGA Save Guidance wrote",
}

# Each pipeline's arguments in the order of its signature, with their defaults.
_DIFFUSERS = {
    "prompt": None,
    "height": None,
    "width": None,
    "num_inference_steps": 50,
    "guidance_scale": 7.5,
    "negative_prompt": None,
    "num_images_per_prompt": 1,
    "eta": 0.0,
    "generator": None,
    "latents": None,
    "output_type": "pil",
    "return_dict": True,
    "callback": None,
    "callback_steps": 1,
    "editing_prompt": None,
    "editing_prompt_embeddings": None,
    "reverse_editing_direction": False,
    "edit_guidance_scale": 5,
    "edit_warmup_steps": 10,
    "edit_cooldown_steps": None,
    "edit_threshold": 0.9,
    "edit_momentum_scale": 0.1,
    "edit_mom_beta": 0.4,
    "edit_weights": None,
    "sem_guidance": None,
}
_SEMDIFFUSERS = {"height": 512, "width": 512, "edit_guidance_scale": 500, "edit_threshold": None}
PIPELINES: dict[str, dict[str, Any]] = {
    "diffusers": _DIFFUSERS,
    "mindone": {**_DIFFUSERS, "return_dict": False},
    "semdiffusers": {
        name.replace(*EMBEDDINGS): _SEMDIFFUSERS.get(name, default) for name, default in _DIFFUSERS.items()
    },
}


class CallError(ValueError):
    """The call cannot be converted; the message names the argument and its value."""


# The call, out of JSON or Python source.


def read_call(text: str, pipeline: str) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments that a text gives to the pipeline, and notes on what they become.

    A generator comes back as its seed, or a list of seeds.

    Raises:
        CallError: there is no call with a prompt, or an argument is not a literal.
    """
    if not text.lstrip().startswith("{"):
        return _Source(text).arguments(list(PIPELINES[pipeline]))
    try:
        return json.loads(text), []
    except json.JSONDecodeError as error:
        raise CallError(f"line {error.lineno}: not a JSON object: {error.msg}") from error


class _Source:
    """Python source: the first pipeline call in it, and the literals and generators that names stand for there."""

    def __init__(self, text: str) -> None:
        try:
            tree = ast.parse(textwrap.dedent(_without_prompts(text)))
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            raise CallError(f"line {line}: neither a JSON object nor Python source: {error}") from error
        nodes = [node for node in ast.walk(tree) if hasattr(node, "lineno")]
        # An assignment begins where its target does, and comes before it.
        nodes.sort(key=lambda node: (node.lineno, node.col_offset, not isinstance(node, ast.Assign)))
        calls = [node for node in nodes if isinstance(node, ast.Call) and _has_prompt(node)]
        if not calls:
            raise CallError("no call with a prompt found; give a JSON object, or Python source with pipe(prompt=...)")
        self.call, self.calls = calls[0], len(calls)
        self.names: dict[str, Any] = {}
        # For each name of a generator: its seed, and what draws its noise.
        self.generators: dict[str, tuple[int | None, str]] = {}
        self.assigned: ast.Name | None = None
        for node in nodes[: nodes.index(self.call)]:
            self._follow(node)

    def arguments(self, order: list[str]) -> tuple[dict[str, Any], list[str]]:
        notes = []
        if self.calls > 1:
            notes.append(f"the first of {self.calls} calls with a prompt is converted, line {self.call.lineno}")
        nodes = dict(zip(order, self.call.args, strict=False))
        if len(self.call.args) > len(order):
            raise CallError(f"line {self.call.lineno}: more than {len(order)} arguments without a name")
        values: dict[str, Any] = {}
        for keyword in self.call.keywords:
            if keyword.arg is not None:
                nodes[keyword.arg] = keyword.value
            elif isinstance(unpacked := self._value("**", keyword.value), dict):
                values |= unpacked
        for name, node in nodes.items():
            if name == "generator":
                values[name] = self._seeds(node, notes)
            else:
                values[name] = None if name in WITHOUT_COUNTERPART else self._value(name, node)
        if values.get("generator") is None and "torch" in self.generators:
            values["generator"] = self._noted(self.generators["torch"], notes)
        return values, notes

    def _value(self, name: str, node: ast.expr) -> Any:
        try:
            return self._literal(node)
        except (ValueError, TypeError) as error:
            advice = f"; {FROM_FILES[name]}" if name in FROM_FILES else ""
            raise CallError(
                f"line {node.lineno}: {name} must be a literal value, got {ast.unparse(node)}{advice}"
            ) from error

    def _literal(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name) and node.id in self.names:
            return self.names[node.id]
        if isinstance(node, ast.List | ast.Tuple):
            return [self._literal(element) for element in node.elts]
        return ast.literal_eval(node)

    def _follow(self, node: ast.AST) -> None:
        """Keep what names stand for up to date with the next node of the source."""
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            self.assigned = node.targets[0]
            for known, read in ((self.names, self._literal), (self.generators, self._generator)):
                try:
                    known[self.assigned.id] = read(node.value)
                except (ValueError, TypeError):
                    known.pop(self.assigned.id, None)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node is not self.assigned:
            self.names.pop(node.id, None)
            self.generators.pop(node.id, None)
        elif isinstance(node, ast.Call) and _name(node) == "manual_seed" and isinstance(node.func.value, ast.Name):
            name = node.func.value.id
            try:
                seed, drawn = self._generator(node)
                self.generators[name] = seed, "the pipeline's device" if name == "torch" else drawn
            except (ValueError, TypeError):
                self.generators.pop(name, None)

    def _generator(self, node: ast.expr) -> tuple[int | None, str]:
        """Return the seed of a generator's expression and what draws its noise, or raise ValueError."""
        if isinstance(node, ast.Name) and node.id in self.generators:
            return self.generators[node.id]
        name, given = _name(node), []
        if isinstance(node, ast.Call):
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
        if name == "manual_seed" and given:
            receiver = node.func.value
            drawn = "cpu" if ast.unparse(receiver) == "torch" else self._generator(receiver)[1]
            return self._literal(given[0]), drawn
        if name in ("PCG64", "default_rng"):
            return self._literal(given[0]) if given else None, "numpy"
        if name == "Generator" and given and _name(given[0]) == "PCG64":
            return self._generator(given[0])
        if name == "Generator":
            return None, self._device(given[0]) if given else "cpu"
        raise ValueError(f"no generator: {ast.unparse(node)}")

    def _device(self, node: ast.expr) -> str:
        try:
            return str(self._literal(node))
        except (ValueError, TypeError):
            return ast.unparse(node)

    def _seeds(self, node: ast.expr, notes: list[str]) -> Any:
        if isinstance(node, ast.Constant) and node.value is None:
            return None
        if isinstance(node, ast.List | ast.Tuple):
            return [self._seeds(element, notes) for element in node.elts]
        try:
            return self._noted(self._generator(node), notes)
        except (ValueError, TypeError) as error:
            raise CallError(
                f"line {node.lineno}: generator must be a generator with a literal seed, got {ast.unparse(node)}"
            ) from error

    def _noted(self, generator: tuple[int | None, str], notes: list[str]) -> int | None:
        seed, drawn = generator
        note = f"generator: its noise comes from {drawn}; ComfyUI draws on the CPU, so the seed gives another image"
        if drawn != "cpu" and note not in notes:
            notes.append(note)
        return seed


def _without_prompts(text: str) -> str:
    """Leave of an interpreter's session what was typed, and blank notebook commands; lines keep their numbers."""
    lines = text.splitlines()
    if any(line.lstrip().startswith(">>>") for line in lines):
        lines = [line.lstrip()[4:] if line.lstrip().startswith((">>>", "...")) else "" for line in lines]
    return "\n".join("" if line.startswith(("%", "!")) else line for line in lines)


def _name(node: ast.expr) -> str:
    """Return the last name of what a call calls, "" where there is none."""
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "attr", getattr(function, "id", ""))


def _has_prompt(call: ast.Call) -> bool:
    name = _name(call)
    is_pipeline = "pipe" in name and (bool(call.args) or any(keyword.arg is None for keyword in call.keywords))
    return is_pipeline or any(keyword.arg == "prompt" for keyword in call.keywords)


# The workflow, out of the arguments.


class _Call:
    """The arguments with the pipeline's defaults, checked when they are asked for, and the notes on them."""

    def __init__(self, given: dict[str, Any], pipeline: str) -> None:
        if unknown := [name for name in given if name not in PIPELINES[pipeline]]:
            owners = [owner for owner, names in PIPELINES.items() if unknown[0] in names]
            advice = f"; it belongs to --pipeline {owners[0]}" if owners else ""
            raise CallError(f"the {pipeline} pipeline has no argument {', '.join(unknown)}{advice}")
        self.values = {**PIPELINES[pipeline], **given}
        self.notes = [
            f"{name}: nothing in its place, {note}" for name, note in WITHOUT_COUNTERPART.items() if name in given
        ]

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def number(self, name: str, low: float, high: float) -> float:
        return float(_number(name, self.values[name], low, high))

    def count(self, name: str, low: int, high: int) -> int:
        value = _number(name, self.values[name], low, high)
        if value != int(value):
            raise CallError(f"{name} must be a whole number, got {value!r}")
        return int(value)

    def text(self, name: str, value: Any) -> str:
        """Return a text as the host's text encoder must get it to read it as the pipeline's does."""
        if not isinstance(value, str):
            raise CallError(f"{name} must be a text or a list of texts, got {value!r}")
        # The host reads parentheses as weights of words.
        return value.replace("(", "\\(").replace(")", "\\)")

    def file(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise CallError(f"{name} must be the name of a file, got {value!r}; {FROM_FILES[name]}")
        return value

    def each(self, name: str, count: int) -> list[Any]:
        """Return a value for each concept."""
        value = self.values[name]
        if not isinstance(value, list):
            return [value] * count
        if len(value) < count:
            raise CallError(f"{name} must have a value for each of the {count} concepts, got {len(value)}")
        if len(value) > count:
            self.note(f"{name}: {len(value)} values for {count} concepts, the last {len(value) - count} ignored")
        return value[:count]


class _Graph:
    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}

    def add(self, class_type: str, title: str, **inputs: Any) -> list[Any]:
        """Add a node and return the link to its first output."""
        key = str(len(self.nodes) + 1)
        self.nodes[key] = {"class_type": class_type, "_meta": {"title": title}, "inputs": inputs}
        return [key, 0]


def convert(given: dict[str, Any], pipeline: str = "diffusers", checkpoint: str = CHECKPOINT) -> tuple[Any, list[str]]:
    """Return the workflow that does what the pipeline does with these arguments, and notes on what differs.

    Raises:
        CallError: names the argument, its range and the value.
    """
    call, graph = _Call(given, pipeline), _Graph()
    loader = graph.add("CheckpointLoaderSimple", "Checkpoint", ckpt_name=checkpoint)[0]
    clip, vae = [loader, 1], [loader, 2]
    prompts, negatives = _prompts(call)
    images = call.count("num_images_per_prompt", 1, MAX_IMAGES)
    if len(prompts) * images > MAX_IMAGES:
        raise CallError(f"prompt and num_images_per_prompt must give at most {MAX_IMAGES} images")
    seeds = _seeds(call, len(prompts) * images)
    positive = _encoded(graph, clip, prompts, "Prompt")
    negative = _encoded(graph, clip, negatives, "Negative prompt")
    latent = _latent(graph, call, len(prompts) * images if len(seeds) == 1 else 1)
    concepts = _concepts(graph, call, clip)
    sampling = _sampling(graph, call, [loader, 0], concepts)
    # A branch for each prompt, or each image that has a seed of its own.
    size = images if len(seeds) == 1 else 1
    branches = len(prompts) * images // size
    if branches > 1 and call.values["sem_guidance"] is not None:
        call.note("sem_guidance: each prompt or seed samples by itself with the whole file: it must be of one image")
    for branch in range(branches):
        number = f" {branch + 1}" if branches > 1 else ""
        start = latent
        if branches > 1 and (len(seeds) == 1 or call.values["latents"] is not None):
            start = graph.add(
                "LatentFromBatch", f"Images{number}", samples=latent, batch_index=branch * size, length=size
            )
        prompt = branch * size // images
        samples = sampling(
            "Sample with the concepts" + number,
            seeds[branch % len(seeds)],
            {"positive": positive[prompt], "negative": negative[prompt], "latent_image": start},
        )
        _save(graph, call, samples, vae, number)
    return graph.nodes, call.notes


def _prompts(call: _Call) -> tuple[list[str], list[str]]:
    prompt, negative = call.values["prompt"], call.values["negative_prompt"]
    if prompt is None or prompt == []:
        raise CallError(f"prompt must be a text or a list of texts, got {prompt!r}")
    if negative is None:
        negative = [""] * len(prompt) if isinstance(prompt, list) else ""
    if isinstance(prompt, list) != isinstance(negative, list):
        raise CallError(f"negative_prompt must be a {type(prompt).__name__} like prompt, got {negative!r}")
    if not isinstance(prompt, list):
        prompt, negative = [prompt], [negative]
    if len(prompt) != len(negative):
        raise CallError(f"negative_prompt must have a text for each of the {len(prompt)} prompts, got {len(negative)}")
    return [call.text("prompt", text) for text in prompt], [call.text("negative_prompt", text) for text in negative]


def _encoded(graph: _Graph, clip: Any, texts: list[str], title: str) -> list[Any]:
    """Encode each text once; return a link for each."""
    links: dict[str, Any] = {}
    for text in texts:
        if text not in links:
            number = f" {len(links) + 1}" if len(set(texts)) > 1 else ""
            links[text] = graph.add("CLIPTextEncode", title + number, clip=clip, text=text)
    return [links[text] for text in texts]


def _seeds(call: _Call, images: int) -> list[int]:
    """Return one seed for all images, or one for each."""
    generator = call.values["generator"]
    seeds = generator if isinstance(generator, list) else [generator]
    if isinstance(generator, list) and len(seeds) != images:
        raise CallError(f"generator must have a generator for each of the {images} images, got {len(seeds)}")
    if None in seeds:
        call.note("generator: no seed given, the workflow's seed is 0")
    return [0 if seed is None else _seed(seed) for seed in seeds]


def _seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise CallError(f"generator must have a whole number from 0 to 2**64 - 1 as its seed, got {seed!r}")
    return seed


def _steps(call: _Call) -> tuple[int, range]:
    """Return the number of steps and the timesteps, in rising order, at which DDIM evaluates the model."""
    steps = call.count("num_inference_steps", 1, 999)
    every = 1000 // steps
    return steps, range(1, 1 + steps * every, every)


def _percent(call: _Call, step: int) -> float:
    """Return the progress, to three decimals, from which on the host is at a step or after it; 0.999 after the last.

    This is the step's share of all steps, or the nearest right one where DDIM leaves a part of its 1000 timesteps out.
    """
    steps, timesteps = _steps(call)
    if step == 0:
        return 0.0
    # The host's progress p is the timestep 999 * (1 - p). Steps begin at these, and a window cannot begin at 1.
    begins = [*((999 - timestep) / 999 for timestep in reversed(timesteps)), 0.9999]
    step, rounding = min(step, steps), 0.0005
    return round(min(max(step / steps, begins[step - 1] + rounding), begins[step] - rounding), 3)


def _first_sigma(call: _Call) -> float:
    """Return the noise level at which DDIM starts with Stable Diffusion's betas."""
    low, high = math.sqrt(0.00085), math.sqrt(0.012)
    betas = [(low + (high - low) * t / 999) ** 2 for t in range(_steps(call)[1][-1] + 1)]
    alpha = math.prod(1 - beta for beta in betas)
    return math.sqrt((1 - alpha) / alpha)


def _latent(graph: _Graph, call: _Call, batch: int) -> Any:
    if call.values["latents"] is None:
        size = {}
        for name in ("width", "height"):
            call.values[name] = 512 if call.values[name] is None else call.values[name]
            size[name] = call.count(name, 16, 16384)
            if size[name] % 8:
                raise CallError(f"{name} must be divisible by 8, got {size[name]}")
        return graph.add("EmptyLatentImage", "Size and number of images", **size, batch_size=batch)
    call.note("latents: their file sets the size and number of images; Stable Diffusion's noise schedule is assumed")
    noise = graph.add("LoadLatent", "Start noise", latent=call.file("latents", call.values["latents"]))
    # From unit noise to the host's scale: sqrt(1 + sigma^2). A node multiplies by at most 10, so there are two.
    factor = (1 + _first_sigma(call) ** 2) ** 0.25
    for part in (1, 2):
        noise = graph.add("LatentMultiply", f"Scale the start noise, {part} of 2", samples=noise, multiplier=factor)
    return noise


def _concepts(graph: _Graph, call: _Call, clip: Any) -> Any:
    """Add the concepts; return the link to the concept or the stack, or None."""
    sources = _sources(graph, call, clip)
    count = len(sources)
    if count == 0:
        return None
    if count > MAX_CONCEPTS:
        raise CallError(f"editing_prompt must hold at most {MAX_CONCEPTS} concepts, got {count}")
    weights = call.values["edit_weights"]
    if weights is not None and not isinstance(weights, list):
        raise CallError(f"edit_weights must be a list, got {weights!r}")
    links = [
        graph.add(class_type, title, **inputs, **_settings(call, c, count))
        for c, (class_type, title, inputs) in enumerate(sources)
    ]
    if count == 1:
        return links[0]
    return graph.add(
        "SEGAConceptStack", "All concepts", **{f"concepts.concept_{c}": link for c, link in enumerate(links)}
    )


def _sources(graph: _Graph, call: _Call, clip: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Return each concept's node class, its title and its own inputs."""
    texts, (name,) = call.values["editing_prompt"] or [], [name for name in EMBEDDINGS if name in call.values]
    texts = texts if isinstance(texts, list) else [texts]
    files = call.values[name]
    if files is None:
        texts = [call.text("editing_prompt", text) for text in texts]
        return [("SEGAConcept", "SEGA Concept", {"clip": clip, "text": text}) for text in texts]
    files = [call.file(name, file) for file in (files if isinstance(files, list) else [files])]
    if texts:
        call.note(f"editing_prompt: {name} takes its place, as in the reference")
        if len(texts) != len(files):
            raise CallError(f"{name} must have a file for each of the {len(texts)} concepts, got {len(files)}")
    if isinstance(call.values["prompt"], list) and len(files) > 1:
        call.note(f"{name}: with several prompts the reference mixes up the concepts of the images, here it does not")
    return [
        (
            "SEGAConceptFromConditioning",
            "SEGA Concept (from Conditioning)",
            {"conditioning": graph.add("SEGALoadConditioning", "SEGA Load Conditioning", file=file)},
        )
        for file in files
    ]


def _settings(call: _Call, c: int, count: int) -> dict[str, Any]:
    """Return what the nodes call the settings of concept `c`."""

    def value(name: str) -> Any:
        return call.each(name, count)[c]

    reverse = value("reverse_editing_direction")
    if reverse is not None and not isinstance(reverse, bool):
        raise CallError(f"reverse_editing_direction must be True or False, got {reverse!r}")
    scale = _number("edit_guidance_scale", value("edit_guidance_scale"), -100, 100)
    warmup = _step("edit_warmup_steps", value("edit_warmup_steps"))
    cooldown = value("edit_cooldown_steps")
    weight = _number("edit_weights", value("edit_weights") if call.values["edit_weights"] else 1, -math.inf, 100)
    if weight < 0:
        call.note("edit_weights: a negative weight is 0, as in the reference")
        weight = 0
    if cooldown is not None:
        cooldown = _step("edit_cooldown_steps", cooldown)
        if cooldown <= warmup:
            call.note(
                f"edit_cooldown_steps: concept {c + 1} never acts, as its cool-down is not after its warm-up; its "
                "weight is 0"
            )
            if cooldown > 0 and call.values["edit_momentum_scale"]:
                call.note(
                    "edit_cooldown_steps: such a concept feeds the reference's momentum at first, here it does not"
                )
            cooldown, weight = None, 0
    return {
        "direction": "remove" if bool(reverse) != (scale < 0) else "add",
        # A guidance scale of 0 stands for cfg.
        "strength": 0.0 if scale == 0 else 1.0,
        "threshold": float(_number("edit_threshold", value("edit_threshold"), 0, 0.999)),
        "threshold_over": "channel",
        "start_percent": _percent(call, warmup),
        "end_percent": 1.0 if cooldown is None or cooldown >= _steps(call)[0] else _percent(call, cooldown),
        "guidance_scale": float(abs(scale)),
        "weight": float(weight),
    }


def _step(name: str, value: Any) -> int:
    """Return the first whole step from a value on."""
    return max(0, math.ceil(_number(name, value, -math.inf, math.inf)))


def _sampling(graph: _Graph, call: _Call, model: Any, concepts: Any) -> Any:
    """Add what the branches share; return the function that adds a branch's sampler."""
    steps, _ = _steps(call)
    cfg = call.number("guidance_scale", -math.inf, 100)
    if cfg <= 1:
        call.note("guidance_scale: at 1 or less the reference ignores the concepts, here they act at cfg 1")
        cfg = 1.0
    eta = call.number("eta", 0, 1)
    if eta > 0:
        call.note("eta: the noise that each step adds is ComfyUI's, so the image differs")
    guided: dict[str, Any] = {} if concepts is None else {"concepts": concepts}
    guided["momentum_scale"] = call.number("edit_momentum_scale", 0, 10)
    guided["momentum_beta"] = call.number("edit_mom_beta", 0, 0.999)
    guided["mode"] = "reference"
    if call.values["sem_guidance"] is not None:
        file = call.file("sem_guidance", call.values["sem_guidance"])
        guided["guidance"] = graph.add("SEGALoadGuidance", "Supplied guidance", file=file)
    call.note("scheduler: sampled as DDIM does; a pipeline with another scheduler, such as PNDM, gives another image")
    # The host's ddim_uniform makes all the steps that fit, more than the pipeline where 1000 is not divisible.
    fits = len(range(1, 1000, 1000 // steps)) == steps
    if fits and eta in (0, 1) and call.values["latents"] is None:
        name = "euler" if eta == 0 else "euler_ancestral"

        def sampler(title: str, seed: int, inputs: dict[str, Any]) -> Any:
            return graph.add(
                "SEGASampler", title, model=model, seed=seed, steps=steps, cfg=cfg, sampler_name=name,
                scheduler="ddim_uniform", **inputs, denoise=1.0, **guided,
            )  # fmt: skip

        return sampler
    guided_model = graph.add("SEGAModelPatch", "Guide with the concepts", model=model, **guided)
    schedule = graph.add("BasicScheduler", "Schedule", model=model, scheduler="ddim_uniform", steps=steps, denoise=1.0)
    if eta == 0:
        method = graph.add("KSamplerSelect", "Sampler", sampler_name="euler")
    else:
        method = graph.add("SamplerEulerAncestral", "Sampler", eta=eta, s_noise=1.0)

    def custom_sampler(title: str, seed: int, inputs: dict[str, Any]) -> Any:
        return graph.add(
            "SamplerCustom", title, model=guided_model, add_noise=call.values["latents"] is None, noise_seed=seed,
            cfg=cfg, **inputs, sampler=method, sigmas=schedule,
        )  # fmt: skip

    return custom_sampler


def _save(graph: _Graph, call: _Call, samples: Any, vae: Any, number: str) -> None:
    output_type, prefix = call.values["output_type"], "sega/from_diffusers" + number.replace(" ", "_")
    if output_type == "latent":
        call.note("output_type: ComfyUI's latents are the pipeline's divided by the VAE's factor, 0.18215")
        graph.add("SaveLatent", f"Save{number}", samples=samples, filename_prefix=prefix)
        return
    if output_type not in ("pil", "np", "pt"):
        raise CallError(f"output_type must be pil, np, pt or latent, got {output_type!r}")
    if output_type != "pil":
        call.note(f"output_type: {output_type!r} images are saved as files")
    images = graph.add("VAEDecode", f"Decode{number}", samples=samples, vae=vae)
    graph.add("SaveImage", f"Save{number}", images=images, filename_prefix=prefix)


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CallError(f"{name} must be a number, got {value!r}")
    if not low <= value <= high:
        raise CallError(f"{name} must be in [{low:g}, {high:g}], got {value!r}")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Turn a call of a SEGA pipeline into a ComfyUI workflow (API format).")
    parser.add_argument("call", metavar="CALL", help="a file with JSON or Python source; - is standard input")
    parser.add_argument("--checkpoint", default=CHECKPOINT, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--pipeline", choices=PIPELINES, default="diffusers", help="default: %(default)s")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    options = parser.parse_args(arguments)
    try:
        text = sys.stdin.read() if options.call == "-" else Path(options.call).read_text(encoding="utf-8")
        given, notes = read_call(text, options.pipeline)
        workflow, more = convert(given, options.pipeline, options.checkpoint)
    except (CallError, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stderr.writelines(f"note: {note}\n" for note in notes + more)
    written = json.dumps(workflow, indent=2) + "\n"
    if options.output is None:
        sys.stdout.write(written)
    else:
        options.output.write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
