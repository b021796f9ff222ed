"""A text's conditioning: a prompt's, with its text replaced.

The two estimates then differ by the text alone (arXiv 2301.12247, equation 5).
"""

from __future__ import annotations

import logging
import uuid
from functools import cache
from typing import Any

import comfy.conds
import comfy.model_base
import torch
from torch import Tensor

from .host_types import Conds, Entry

# When an entry acts, as shares of the sampling.
_STARTS, _ENDS = ("start_percent", "clip_start_percent"), ("end_percent", "clip_end_percent")

# smZNodes writes when a text acts under keys of its own, and leaves the text out of the host's calls.
_SCHEDULE_OF_SMZNODES = ("start_perc", "end_perc", "init_steps")

# Conditioning keys that text encoders write, and those that say when a text acts. A text never takes these from its
# prompt, even if it lacks one itself; it acts when both do.
TEXT = frozenset(
    {
        "cross_attn", "pooled_output", "attention_mask", "attention_mask_img_shape", "t5xxl_ids", "t5xxl_weights",
        "text_input_ids", "conditioning_byt5small", "conditioning_llama3", "conditioning_mt5xl", "attention_mask_mt5xl",
        "conditioning_lyrics", "lyrics_strength", "audio_codes", "unprocessed_ltxav_embeds", "minimax_token_tags",
        "num_layers_stacked", "image_slots", "yue2_chunks", "conditioning_scale", "prefix_keys", "prefix_values",
        "prefix_time", "direct_context", "k6_audio_context", "k6_audio_pooled_output", *_STARTS, *_ENDS,
        *_SCHEDULE_OF_SMZNODES,
    }
)  # fmt: skip

# All other conditioning keys. A text takes these from its prompt.
NOT_TEXT = frozenset(
    {
        "area", "strength", "mask", "mask_strength", "set_area_to_bounds", "default", "timestep_start", "timestep_end",
        "control", "control_apply_to_uncond", "cross_attn_controlnet", "gligen", "hooks", "additional_models",
        "prompt_type", "uuid", "model_conds", "concat_latent_image", "concat_mask", "concat_mask_index",
        "concat_image", "noise_concat", "condition", "denoise_mask", "noise_augmentation", "augmentation_level",
        "unclip_conditioning", "unclip_noise_augment_merge", "clip_vision_output", "clip_vision_output_ref",
        "clip_vision_outputs", "stable_cascade_prior", "guidance", "width", "height", "crop_w", "crop_h",
        "target_width", "target_height", "aesthetic_score", "aspect_ratio", "frame_rate", "fps", "motion_bucket_id",
        "elevation", "azimuth", "time_conditioning", "seconds_start", "seconds_total", "reference_latents",
        "reference_latents_method", "reference_latents_text_embeds", "reference_audio_timbre_latents",
        "reference_motion", "ref_latent", "ref_audio", "ref_mask_28ch", "ref_mask_flag", "driving_mask_28ch",
        "time_dim_concat", "time_dim_replace", "keyframe_idxs", "guiding_frame_index", "guide_attention_entries",
        "vace_frames", "vace_mask", "vace_strength", "camera_conditions", "control_video", "context_latents",
        "audio_embed", "audio_inject_scale", "face_video_pixels", "pose_video_latent", "lq_latent", "degrade_sigma",
        "ofs", "minimax_refs", "minimax_keyframes", "minimax_frame_count", "minimax_visual_cond_noise_aug",
        "minimax_audio_cond_noise_aug", "generated_keyframes", "cross_attn_pose", "clip_vision_output_pose",
        "pose_strength", "reference_strength", "k6_reference_tail",
    }
)  # fmt: skip


# Prefixes of families whose text encoders write many keys.
_TEXT_PREFIXES = ("sensenova_",)


def is_same_text(entry: Entry, other: Entry) -> bool:
    """Say whether two entries have the same text: what the encoder wrote, and when it acts."""
    keys = {key for key in (*entry, *other) if _is_text(key)}
    return all(_is_equal(entry.get(key), other.get(key)) for key in keys)


def concept_conds(entries: Conds, prompt: Conds, prompt_type: str, model: Any, name: str) -> list[Conds]:
    """Return a conditioning's conds: one list per text, matching the prompt's list entry for entry.

    The host then treats each list like the prompt's: areas, ControlNets, masks, hooks. The estimate of several texts is
    the mean of those that act: all at once for combined prompts, one after the other for a scheduled prompt.

    Args:
        entries: the conditioning, as the host's entries.
        prompt: the entries of the prompt whose text is replaced, before sampling.
        prompt_type: "positive" or "negative".
        model: the host's BaseModel.
        name: of the concept, for errors.

    Raises:
        ValueError: the concept's text was encoded for another model.
    """
    return [[_with_text(entry, text, prompt_type, model, name) for entry in prompt] for text in entries]


def _with_text(prompt: Entry, text: Entry, prompt_type: str, model: Any, name: str) -> Entry:
    _check_encoder(prompt, text, model, name)
    kept = {key: value for key, value in prompt.items() if not _is_text(key)}
    added = {key: value for key, value in text.items() if _is_text(key)}
    for key in sorted((prompt.keys() | text.keys()) - added.keys() - TEXT - NOT_TEXT):
        _say_unknown(key)
    # Some models read pooled_output but accept None.
    return {
        "prompt_type": prompt_type,
        "pooled_output": None,
        **kept,
        **added,
        **_schedule(prompt, text),
        "uuid": uuid.uuid4(),
    }


def _is_text(key: str) -> bool:
    return key in TEXT or key.startswith(_TEXT_PREFIXES)


@cache
def _say_unknown(key: str) -> None:
    """Warn once about an unknown conditioning key, from a newer host or another pack."""
    logging.warning(
        "SEGA: the conditioning has %r, which this version does not know; concepts use the prompt's. If a text encoder "
        "writes it, update the pack or report the key.",
        key,
    )


def _schedule(*entries: Entry) -> dict[str, float]:
    """Return when all entries act, under the host's keys."""
    starts = [entry[key] for entry in entries for key in _STARTS if key in entry]
    ends = [entry[key] for entry in entries for key in _ENDS if key in entry]
    return ({"start_percent": max(starts)} if starts else {}) | ({"end_percent": min(ends)} if ends else {})


def _check_encoder(prompt: Entry, text: Entry, model: Any, name: str) -> None:
    advice = "encode it with the CLIP that belongs to the model"
    expected, got = prompt.get("cross_attn"), text.get("cross_attn")
    if expected is not None:
        if got is None:
            raise ValueError(f"{name} has no text embedding; {advice}")
        if expected.ndim != got.ndim:
            raise ValueError(
                f"{name} has an embedding of shape {tuple(got.shape)}, but the prompt's is {tuple(expected.shape)}; "
                f"{advice}"
            )
        if expected.shape[-1] != got.shape[-1]:
            raise ValueError(
                f"{name} is encoded for another model family: its width is {got.shape[-1]}, the prompt's is "
                f"{expected.shape[-1]}; {advice}"
            )
    for tensor in (got, text.get("pooled_output")):
        if tensor is not None and tensor.numel() == 0:
            raise ValueError(f"{name} has an empty embedding, of shape {tuple(tensor.shape)}; {advice}")
        if tensor is not None and not tensor.isfinite().all():
            raise ValueError(f"{name} has an embedding that is not finite; run its text encoder in fp32 or bf16")
    base = comfy.model_base
    cascade = isinstance(model, (base.StableCascade_B, base.StableCascade_C))
    uses_pooled = cascade or type(model).encode_adm is not base.BaseModel.encode_adm
    expected, got = prompt.get("pooled_output"), text.get("pooled_output")
    if not uses_pooled or expected is None:
        return
    if got is None and not isinstance(model, (base.Flux, base.SD21UNCLIP)):
        raise ValueError(f"{name} has no pooled output, and the model needs one; {advice}")
    if got is not None and expected.shape[-1] != got.shape[-1]:
        raise ValueError(
            f"{name} is encoded for another model family: its pooled output's width is {got.shape[-1]}, the "
            f"prompt's is {expected.shape[-1]}; {advice}"
        )


def check_text_is_used(conds: Conds, prompt: Conds, name: str) -> None:
    """Refuse a model that ignores text: concepts have no effect there.

    Args:
        conds: one of the concept's lists, as encoded by the host.
        prompt: the list of the prompt it was built from, as encoded by the host.

    Raises:
        ValueError: the texts differ, but the model's inputs do not.
    """
    for entry, other in zip(conds, prompt, strict=False):
        same_text = _is_equal(entry.get("cross_attn"), other.get("cross_attn"))
        if same_text or not _same_inputs(entry["model_conds"], other["model_conds"]):
            return
    raise ValueError(f"{name} has no effect: this model takes no text")


def _same_inputs(first: Entry, second: Entry) -> bool:
    return first.keys() == second.keys() and all(_is_equal(first[key].cond, second[key].cond) for key in first)


def _is_equal(first: Any, second: Any) -> bool:
    # Embeddings may be on different devices.
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.shape == second.shape and torch.equal(first.to(second.device), second)
    return comfy.conds.is_equal(first, second)
