"""Little memory, several devices, small number formats and offloaded models give the same edit."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from dev.host.passes import options_of
from support import guiders
from support.host import Host, find_node
from support.models import FLUX, SDXL_SIZES, UNET, tiny_config
from support.pipeline import fill_with_noise
from support.tensors import distance, relative

STEPS = 3
KINDS = ["eps", "sdxl", "flow"]
LITTLE_MEMORY = pytest.mark.compat(
    "Memory and devices", "memory for one to three prompts at a time; 1, 3 and 8 concepts"
)
PLANNED = pytest.mark.compat("Memory and devices", "the host plans its memory with the concepts in view")
SEVERAL_GPUS = pytest.mark.compat("Memory and devices", "several GPUs: the host spreads the concepts over them")
OFFLOADED = pytest.mark.compat("Memory and devices", "models that are offloaded in part")
IN_TURN = pytest.mark.compat("Memory and devices", "models unloaded between runs, several models in turn")
CPU = torch.device("cpu")
# The host keys its models by device. To it this is another one than the plain CPU; to torch it is the same.
SECOND = torch.device("cpu", 0)


def make_model(
    kind: str,
    *,
    seed: int = 1,
    dtype: torch.dtype = torch.float32,
    manual_cast: torch.dtype | None = None,
    device: torch.device = CPU,
    weights: dict[str, torch.Tensor] | None = None,
) -> Any:
    """Return a MODEL of a family with random weights, or with `weights`, in any number format."""
    import comfy.model_base
    import comfy.model_patcher

    if kind == "flow":
        config = tiny_config({**FLUX, "guidance_embed": True}, "Flux", shift=1.15)
    else:
        config = tiny_config({**UNET, **SDXL_SIZES} if kind == "sdxl" else UNET)
    config.set_inference_dtype(dtype, manual_cast)
    classes = {"eps": comfy.model_base.BaseModel, "sdxl": comfy.model_base.SDXL, "flow": comfy.model_base.Flux}
    base = classes[kind](config)
    if weights is None:
        fill_with_noise(base.diffusion_model, seed)
    else:
        base.diffusion_model.load_state_dict(weights)
    base.diffusion_model.to(dtype)
    base.eval()
    model = comfy.model_patcher.ModelPatcher(base, load_device=device, offload_device=CPU)
    if hasattr(model, "cached_patcher_init"):
        model.cached_patcher_init = (remake, (kind, seed, device))
    return model


def remake(kind: str, seed: int, device: torch.device, disable_dynamic: bool = False) -> Any:
    """Load the model once more, as a loader of the host does for each further device."""
    return make_model(kind, seed=seed, device=device)


def concepts(host: Host, count: int, **changes: Any) -> list[Any]:
    """Return concepts that edit everywhere: at a threshold single elements may fall to either side of it."""
    settings = {"guidance_scale": 4.0, "threshold": 0.0, "weight": 1.0 / max(1, count), **changes}
    return [replace(host.concept(**settings), conditioning=host.pooled(10 + i)) for i in range(count)]


def edit(host: Host, model: Any, *chosen: Any, batch: int = 1, **changes: Any) -> torch.Tensor:
    channels = model.get_model_object("latent_format").latent_channels
    latent = {"samples": torch.zeros(batch, channels, 8, 8)}
    prompts = {"positive": host.pooled(1), "negative": host.pooled(2)}
    return host.sega(*chosen, model=model, latent=latent, **{"steps": STEPS, **prompts, **changes})


def same_edit(edited: torch.Tensor, expected: torch.Tensor, plain: torch.Tensor) -> bool:
    """Compare against the size of the edit, which must be there."""
    assert edited.isfinite().all()
    assert distance(expected, plain) > 1e-2
    return relative(edited - expected, expected - plain) < 1e-3


def near_edit(edited: torch.Tensor, plain: torch.Tensor, expected: torch.Tensor, expected_plain: torch.Tensor) -> bool:
    """Compare edits in two number formats: that changes the plain image too, and the edit's error is of that size."""
    size = (expected - expected_plain).norm()
    error = ((edited - plain) - (expected - expected_plain)).norm()
    assert edited.isfinite().all()
    return bool(error < 4 * (plain - expected_plain).norm() and error < 0.5 * size)


class Card:
    """A MODEL on cards with room for so many samples per call: it fails as torch does when one more comes."""

    def __init__(self, model: Any, room: float = math.inf) -> None:
        import comfy.patcher_extension

        self.room = room
        self.sizes: list[int] = []
        self.labels: list[int] = []
        self.passes_on: Counter[torch.device] = Counter()
        self.model = model.clone()
        kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
        self.model.add_wrapper_with_key(kind, "card", self._call)

    def _call(self, executor: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        options = options_of(args, kwargs)
        self.sizes.append(x.shape[0])
        self.labels.extend(options["cond_or_uncond"])
        self.passes_on[options.get("multigpu_thread_device", CPU)] += len(options["cond_or_uncond"])
        if x.shape[0] > self.room:
            raise torch.OutOfMemoryError("the card is too small")
        return executor(x, *args, **kwargs)


@pytest.fixture
def report_room(host: Host, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, int, int], None]:
    """Let the host find free memory for so many passes of so many images."""
    import comfy.model_management

    def report(model: Any, passes: int, batch: int) -> None:
        channels = model.get_model_object("latent_format").latent_channels
        free = 1.5 * model.model.memory_required([passes * batch, channels, 8, 8]) + 1
        monkeypatch.setattr(
            comfy.model_management,
            "get_free_memory",
            lambda dev=None, torch_free_too=False: (free, free) if torch_free_too else free,
        )

    return report


# Pairs of texts, with the concept and without it: a bare concept's other one is the negative prompt. The prompts are
# texts 1 and 2.
BARE = [(text, None) for text in range(10, 18)]
WITH_AND_WITHOUT = [(10, 1), (11, 1), (1, 12)]
OTHER_TEXTS = [(10, 13), (11, 13), (12, 13)]


def compared(host: Host, pairs: Sequence[tuple[int, int | None]]) -> list[Any]:
    others = [None if instead_of is None else host.pooled(instead_of) for _, instead_of in pairs]
    return [
        replace(concept, conditioning=host.pooled(text), instead_of=other)
        for concept, (text, _), other in zip(concepts(host, len(pairs)), pairs, others, strict=True)
    ]


@LITTLE_MEMORY
@pytest.mark.parametrize(
    ("kind", "pairs", "labels", "batch", "passes"),
    [
        ("eps", BARE[:1], {0: 1, 1: 2}, 1, 1),
        ("sdxl", BARE[:3], {0: 1, 1: 4}, 1, 2),
        ("eps", BARE, {0: 1, 1: 9}, 3, 3),
        ("flow", WITH_AND_WITHOUT, {0: 4, 1: 1}, 1, 1),
        ("sdxl", OTHER_TEXTS, {0: 5, 1: 1}, 3, 1),
        ("eps", OTHER_TEXTS, {0: 5, 1: 1}, 1, 2),
    ],
)
def test_a_small_card_gives_the_same_edit(
    host: Host, report_room: Callable, kind: str, pairs: Any, labels: dict[int, int], batch: int, passes: int
) -> None:
    """Free memory decides which texts are evaluated together; a difference needs both."""
    model, chosen = make_model(kind), compared(host, pairs)
    whole = edit(host, model, *chosen, batch=batch)
    plain = edit(host, model, batch=batch)
    report_room(model, passes, batch)
    card = Card(model, passes * batch)
    first, second = (edit(host, card.model, *chosen, batch=batch) for _ in range(2))
    assert max(card.sizes) == passes * batch
    assert sum(card.sizes) == 2 * STEPS * sum(labels.values()) * batch
    assert Counter(card.labels) == {label: 2 * STEPS * count for label, count in labels.items()}
    assert same_edit(first, whole, plain)
    assert torch.equal(first, second)


@LITTLE_MEMORY
def test_concepts_in_a_call_of_their_own_fit_a_small_card(host: Host, report_room: Callable) -> None:
    """This guider has a CFG of its own."""

    def guide(model: Any) -> torch.Tensor:
        return host.guide(guiders.dual("regular")(host, model))

    chosen = concepts(host, 3)
    expected, plain = guide(host.patched(*chosen)), guide(host.eps)
    report_room(host.eps, 1, 1)
    card = Card(host.eps, 1)
    assert same_edit(guide(host.patched(*chosen, model=card.model)), expected, plain)
    assert set(card.sizes) == {1}


@LITTLE_MEMORY
def test_a_card_that_runs_out_of_memory_leaves_nothing_behind(host: Host) -> None:
    chosen = concepts(host, 3)
    expected = edit(host, host.eps, *chosen)
    card = Card(host.eps, 4)
    with pytest.raises(torch.OutOfMemoryError, match="too small"):
        edit(host, card.model, *chosen)
    card.room = 5
    assert torch.equal(edit(host, card.model, *chosen), expected)


@pytest.fixture
def plans(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the host plans for each sampling: the prompts it knows of and the memory it asks for."""
    import comfy.model_management
    import comfy.sampler_helpers

    log: list[dict[str, Any]] = []
    estimate, load = comfy.sampler_helpers.estimate_memory, comfy.model_management.load_models_gpu

    def estimate_memory(model: Any, noise_shape: Any, conds: dict[Any, Any]) -> Any:
        log.append({"texts": [entry["cross_attn"] for entries in conds.values() for entry in entries]})
        return estimate(model, noise_shape, conds)

    def load_models_gpu(models: list[Any], **kwargs: Any) -> Any:
        log[-1] |= {"models": models, "most": kwargs["memory_required"], "least": kwargs["minimum_memory_required"]}
        return load(models, **kwargs)

    monkeypatch.setattr(comfy.sampler_helpers, "estimate_memory", estimate_memory)
    monkeypatch.setattr(comfy.model_management, "load_models_gpu", load_models_gpu)
    return log


@PLANNED
def test_the_host_plans_with_each_text_that_no_prompt_says_once(host: Host, plans: list[dict[str, Any]]) -> None:
    model = make_model("sdxl")
    said = [(), tuple(range(10, 11)), tuple(range(10, 18)), (10, 11, 12), (10, 13, 11, 12)]
    for pairs in ([], BARE[:1], BARE, WITH_AND_WITHOUT, OTHER_TEXTS):
        edit(host, model, *compared(host, pairs))
    for plan, seeds in zip(plans, said, strict=True):
        for text, seed in zip(plan["texts"], (1, 2, *seeds), strict=True):
            assert torch.equal(text, host.pooled(seed)[0][0])
    for before, after in itertools.pairwise(plans[:3]):
        assert after["most"] >= before["most"] > 0
        assert after["least"] >= before["least"] > 0
        assert len(after["models"]) == len(before["models"])


@pytest.fixture
def split(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Any]]:
    """The host's node that spreads a model over the devices, here two names of the CPU."""
    import comfy.model_management

    node = find_node("nodes_multigpu", "MultiGPUCFGSplitNode")
    monkeypatch.setattr(
        comfy.model_management, "get_all_torch_devices", lambda exclude_current=False: [CPU, SECOND][exclude_current:]
    )
    yield lambda model: node.execute(model, 2)[0]
    comfy.model_management.unload_all_models()


@SEVERAL_GPUS
@pytest.mark.parametrize(("kind", "count", "batch"), [("sdxl", 1, 1), ("flow", 3, 1), ("eps", 8, 3)])
def test_two_devices_share_the_concepts(host: Host, split: Callable, kind: str, count: int, batch: int) -> None:
    model, chosen = make_model(kind), concepts(host, count)
    plain, expected = edit(host, model, batch=batch), edit(host, model, *chosen, batch=batch)
    cards = Card(split(model))
    first, second = (edit(host, cards.model, *chosen, batch=batch) for _ in range(2))
    passes = count + 2
    assert cards.passes_on == {CPU: 2 * STEPS * -(-passes // 2), SECOND: 2 * STEPS * (passes // 2)}
    assert Counter(cards.labels) == {0: 2 * STEPS, 1: 2 * STEPS * (count + 1)}
    assert same_edit(first, expected, plain)
    assert torch.equal(first, second)


@SEVERAL_GPUS
@pytest.mark.parametrize("split_first", [True, False], ids=["split then patch", "patch then split"])
def test_the_order_of_split_and_patch_is_free(host: Host, split: Callable, split_first: bool) -> None:
    model, chosen = make_model("eps"), concepts(host, 3)
    guided = host.patched(*chosen, model=split(model)) if split_first else split(host.patched(*chosen, model=model))
    cards = Card(guided)
    expected, plain = host.sample(host.patched(*chosen, model=model)), host.sample(model)
    assert same_edit(host.sample(cards.model), expected, plain)
    assert cards.passes_on[SECOND] > 0


FP16, BF16, FP8 = (pytest.mark.compat("Memory and devices", f"{name} weights") for name in ("fp16", "bf16", "fp8"))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        pytest.param("eps", torch.float16, marks=FP16),
        pytest.param("sdxl", torch.bfloat16, marks=BF16),
        pytest.param("flow", torch.float8_e4m3fn, marks=FP8),
        pytest.param("eps", torch.float8_e5m2, marks=FP8),
    ],
)
def test_small_weights_edit_as_the_same_numbers_in_fp32(
    host: Host, guidance_log: list[Any], kind: str, dtype: torch.dtype
) -> None:
    import comfy.model_management

    cast = comfy.model_management.unet_manual_cast(dtype, CPU, [torch.float32])
    small, chosen = make_model(kind, dtype=dtype, manual_cast=cast), concepts(host, 2)
    assert {p.dtype for p in small.model.diffusion_model.parameters()} == {dtype}
    rounded = {key: value.float() for key, value in small.model.diffusion_model.state_dict().items()}
    same_numbers = make_model(kind, weights=rounded)
    edited = edit(host, small, *chosen)
    assert [guidance.dtype for guidance in guidance_log] == [torch.float32] * STEPS
    assert same_edit(edited, edit(host, same_numbers, *chosen), edit(host, same_numbers))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [pytest.param("sdxl", torch.float16, marks=FP16), pytest.param("flow", torch.bfloat16, marks=BF16)],
)
def test_small_arithmetic_edits_nearly_as_fp32(
    host: Host, guidance_log: list[Any], kind: str, dtype: torch.dtype
) -> None:
    model, small, chosen = make_model(kind), make_model(kind, dtype=dtype), concepts(host, 2)
    seen: list[torch.dtype] = []
    small.model.diffusion_model.register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))
    edited = edit(host, small, *chosen)
    assert set(seen) == {dtype}
    assert [guidance.dtype for guidance in guidance_log] == [torch.float32] * STEPS
    assert edited.dtype == torch.float32
    assert near_edit(edited, edit(host, small), edit(host, model, *chosen), edit(host, model))


@pytest.fixture
def memory_for_half_of(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """Let the host take its second device for a GPU that has room for half of a model."""
    import comfy.model_management

    management = comfy.model_management
    monkeypatch.setattr(management, "is_device_cpu", lambda device: device == CPU)
    monkeypatch.setattr(management, "vram_state", management.VRAMState.NORMAL_VRAM)
    monkeypatch.setattr(management, "MIN_WEIGHT_MEMORY_RATIO", 0.0)

    def report(model: Any) -> None:
        reserved = management.minimum_inference_memory()
        required = model.model.memory_required([1, 4, 8, 8]) + management.extra_reserved_memory()
        free = max(reserved, required) + model.model_size() / 2

        def get_free_memory(dev: Any = None, torch_free_too: bool = False) -> Any:
            left = free - model.loaded_size()
            return (left, left) if torch_free_too else left

        monkeypatch.setattr(management, "get_free_memory", get_free_memory)

    yield report
    management.free_memory(1e30, SECOND)


def lora(model: Any) -> Any:
    """Return the MODEL with a patch of every attention weight, as a LoRA loader makes it."""
    patched = model.clone()
    generator = torch.Generator().manual_seed(7)
    weights = model.model.state_dict()
    names = [name for name in weights if "attn2.to_" in name and name.endswith("weight")]
    patches = {name: (0.2 * torch.randn(weights[name].shape, generator=generator),) for name in names}
    assert set(patched.add_patches(patches)) == set(patches)
    return patched


@OFFLOADED
def test_a_model_half_of_which_is_offloaded_edits_the_same(host: Host, memory_for_half_of: Callable) -> None:
    chosen, model, small = concepts(host, 3), lora(make_model("eps")), lora(make_model("eps", device=SECOND))
    plain, expected = edit(host, model), edit(host, model, *chosen)
    assert not same_edit(expected, edit(host, make_model("eps"), *chosen), plain)
    memory_for_half_of(small)
    first, second = (edit(host, small, *chosen) for _ in range(2))
    assert small.model.model_lowvram
    assert 0 < small.loaded_size() < small.model_size()
    assert same_edit(first, expected, plain)
    assert torch.equal(first, second)


@IN_TURN
def test_a_model_that_was_unloaded_edits_the_same(host: Host) -> None:
    import comfy.model_management

    model, chosen = lora(make_model("eps")), concepts(host, 2)
    expected = edit(host, model, *chosen)
    for unload in (
        comfy.model_management.unload_all_models,
        lambda: comfy.model_management.free_memory(1e30, CPU),
        lambda: model.detach(),
    ):
        unload()
        assert model.loaded_size() == 0
        assert torch.equal(edit(host, model, *chosen), expected)


@IN_TURN
def test_models_in_turn_keep_their_own_edits(host: Host) -> None:
    models = {kind: make_model(kind) for kind in KINDS} | {"eps again": make_model("eps", seed=2)}
    stacks = {kind: concepts(host, 1 + i) for i, kind in enumerate(models)}
    expected = {kind: edit(host, model, *stacks[kind]) for kind, model in models.items()}
    for kind in ("flow", "eps", "eps again", "sdxl", "eps", "flow"):
        assert torch.equal(edit(host, models[kind], *stacks[kind]), expected[kind])


def cuda_device() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("this test needs a GPU")
    return torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("eps", torch.float32), ("sdxl", torch.float16), ("flow", torch.bfloat16)], ids=KINDS
)
def test_a_gpu_edits_nearly_as_the_cpu(host: Host, guidance_log: list[Any], kind: str, dtype: torch.dtype) -> None:
    import comfy.model_management

    device = cuda_device()
    model, chosen = make_model(kind), concepts(host, 3)
    there = make_model(kind, dtype=dtype, device=device)
    first, second = (edit(host, there, *chosen) for _ in range(2))
    assert {(guidance.dtype, guidance.device) for guidance in guidance_log} == {(torch.float32, device)}
    plain = edit(host, there)
    assert near_edit(first, plain, edit(host, model, *chosen), edit(host, model))
    assert same_edit(second, first, plain)
    comfy.model_management.free_memory(1e30, device)


def test_masks_attention_and_kept_guidance_act_on_a_gpu(host: Host) -> None:
    import comfy.model_management
    import comfy.model_patcher

    device = cuda_device()
    mask = torch.zeros((1, 64, 64))
    mask[..., 32:] = 1
    concept = host.concept(mask=mask, threshold_over="space", attention_threshold=0.5)
    here = host.model(host.eps.model.model_type)
    there = comfy.model_patcher.ModelPatcher(host.model(host.eps.model.model_type).model, device, device)
    plain, expected = edit(host, here), edit(host, here, concept)
    assert (edit(host, there, concept) - expected).norm() < 0.1 * (expected - plain).norm()
    recording, records = host.recording(concept, model=there)
    host.sample(recording)
    assert records[0].guidance[0].device == torch.device("cpu")
    assert not records[0].guidance[0][..., :3].any()
    assert host.sample(host.patched(model=there, guidance=records[0])).isfinite().all()
    comfy.model_management.free_memory(1e30, device)
