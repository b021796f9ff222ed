"""A node pack with the ways in which other packs pass values on, in their smallest form."""

from __future__ import annotations

from typing import Any


class AnyType(str):
    """The type that fits every other one."""

    def __ne__(self, other: object) -> bool:
        return False


ANYTHING = (AnyType("*"),)


class FirstOf:
    """The first input that is there: rgthree's Any Switch."""

    FUNCTION, CATEGORY, RETURN_TYPES = "choose", "test", ANYTHING

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}, "optional": {f"any_{number:02}": ANYTHING for number in range(1, 4)}}

    def choose(self, **given: Any) -> tuple[Any]:
        return (next((value for value in given.values() if value is not None), None),)


class Numbered:
    """The input with a number: Impact Pack's Switch (Any), Easy-Use's index switches."""

    FUNCTION, CATEGORY, RETURN_TYPES = "choose", "test", ANYTHING

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"select": ("INT", {"default": 1, "min": 1, "max": 12})},
            "optional": {f"input{number}": ANYTHING for number in (1, 2, 12)},
        }

    def choose(self, select: int, **given: Any) -> tuple[Any]:
        return (given.get(f"input{select}"),)


class ListOf:
    """A list, for which nodes run once per value: Impact Pack's Make List (Any), ComfyUI's Create List."""

    FUNCTION, CATEGORY, RETURN_TYPES, OUTPUT_IS_LIST = "collect", "test", ANYTHING, (True,)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}, "optional": {f"input{number}": ANYTHING for number in (1, 2)}}

    def collect(self, **given: Any) -> tuple[list[Any]]:
        return (list(given.values()),)


class IsLong:
    """A boolean that only a run can tell."""

    FUNCTION, CATEGORY, RETURN_TYPES = "measure", "test", ("BOOLEAN",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"text": ("STRING", {"default": ""})}}

    def measure(self, text: str) -> tuple[bool]:
        return (len(text) > 10,)


class Broadcast:
    """Gives what is connected to it to free inputs of the same type: UseEverywhere's Anything Everywhere."""

    FUNCTION, CATEGORY, RETURN_TYPES = "nothing", "test", ()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}, "optional": {"anything": ANYTHING}}

    def nothing(self, **given: Any) -> tuple[()]:
        return ()


WEB_DIRECTORY = "web"
NODE_CLASS_MAPPINGS = {f"Test{each.__name__}": each for each in (FirstOf, Numbered, ListOf, IsLong, Broadcast)}
