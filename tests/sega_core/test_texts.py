"""The two texts of a concept: the prompt with it and the prompt without it, however it is named there."""

# ruff: noqa: RUF001

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sega_core import ComparedTexts, compared_texts

FUZZ = settings(max_examples=300)


def taken_out(text: str, prompt: str) -> str | None:
    """Return the prompt without a text that it names."""
    compared = compared_texts(text, prompt)
    assert compared.text == prompt
    return compared.instead_of


def is_named(text: str, prompt: str) -> bool:
    """Say whether a prompt names a text: there is something to take out of it then."""
    return compared_texts(text, prompt).instead_of != prompt


@pytest.mark.parametrize(
    ("prompt", "without"),
    [
        # With the space beside them.
        ("hat", ""),
        ("a hat", "a"),
        ("hat (worn)", "(worn)"),
        ("hat hat hat", ""),
        # With a comma.
        ("hat, a face", "a face"),
        ("a face, hat", "a face"),
        ("a face, hat, smile", "a face, smile"),
        ("a face, a hat, smile", "a face, a, smile"),
        ("a face, hat on top", "a face, on top"),
        ("hat, a face, hat", "a face"),
        ("a face; hat; smile", "a face; smile"),
        # Without leaving an empty line.
        ("a face\nhat\nsmile", "a face\nsmile"),
        ("a face,\nhat,\nsmile", "a face,\nsmile"),
        ("a face, hat\nsmile", "a face\nsmile"),
        ("a face,\nhat", "a face"),
        ("a face\n\nhat\n\nsmile", "a face\n\nsmile"),
        # A sentence keeps its end.
        ("A man in a hat.", "A man in a."),
        ("A man. Hat. A coat.", "A man. A coat."),
        ("A man, hat. A coat.", "A man. A coat."),
        ("Hat! A man.", "A man."),
        # With a weight and brackets where nothing else is in them.
        ("(hat:1.3)", ""),
        ("( hat : 1.3 )", ""),
        ("a face, (hat:1.3), smile", "a face, smile"),
        ("a face, (hat:-.5), smile", "a face, smile"),
        ("[hat], a face", "a face"),
        ("a face, ([hat:1.2])", "a face"),
        ("(hat), a face, (hat:1.2)", "a face"),
        ("a face, (smile, hat:1.2)", "a face, (smile:1.2)"),
        ("a face, (red hat:1.2)", "a face, (red:1.2)"),
        ("a face, ((hat), smile)", "a face, (smile)"),
        ("(a face) hat (smile)", "(a face) (smile)"),
        (r"a face, hat \(object\), smile", r"a face, \(object\), smile"),
        (r"a face, (\(hat\):1.2), smile", "a face, smile"),
        # Brackets that are not a pair stay.
        ("(hat", "("),
        ("hat)", ")"),
        (") hat (", ") ("),
        ("(hat]", "(]"),
        (r"\(hat)", r"\()"),
        ("(hat:)", "(:)"),
    ],
)
def test_words_are_taken_out_with_what_belongs_to_them(prompt: str, without: str) -> None:
    assert taken_out("hat", prompt) == without


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        # Words.
        ("hat", "hats"),
        ("hat", "a chat"),
        ("hat", "a top-hat"),
        ("man", "a man's hat"),
        ("old", "a 10-year-old man"),
        ("hair", "black_hair"),
        ("hat", ""),
        ("red hat", "red, hat"),
        # Names of embeddings.
        ("hat", "embedding:hat, a face"),
        ("hat", "(embedding:hat:1.2)"),
        ("embedding:hat", "embedding:hat2"),
    ],
)
def test_a_part_is_not_found(text: str, prompt: str) -> None:
    assert not is_named(text, prompt)


@pytest.mark.parametrize(
    ("text", "prompt", "without"),
    [
        # In either case and over line breaks.
        ("Hat", "a face, hat", "a face"),
        ("hat", "man's hat, hats", "man's, hats"),
        ("top hat", "top_hat, a face", "a face"),
        ("top_hat", "a face, top hat", "a face"),
        ("top hat", "a face, top\n  hat, smile", "a face, smile"),
        ("hat, coat", "a face, hat, coat, smile", "a face, smile"),
        ("C++", "a book, C++", "a book"),
        ("__hair__", "a face, __hair__, smile", "a face, smile"),
        ("top hat", "top top hat hat, a face", "a face"),
        # Brackets within a text are a part of it.
        (r"saber \(fate\)", r"1girl, saber \(fate\), smile", "1girl, smile"),
        (r"(saber \(fate\):1.2)", r"1girl, saber \(fate\), smile", "1girl, smile"),
        # An embedding by its whole name.
        ("embedding:hat", "a face, (embedding:hat:1.2)", "a face"),
        ("embedding:hat", "一个女人，embedding:hat，微笑", "一个女人，微笑"),
        ("hat", "embedding:hat, a hat", "embedding:hat, a"),
        # Inside text without spaces.
        ("眼镜", "一个戴眼镜的女人", "一个戴的女人"),
        ("眼镜", "一个女人，眼镜，微笑", "一个女人，微笑"),
        ("眼镜", "一个女人（眼镜），微笑", "一个女人，微笑"),
        ("眼鏡", "眼鏡をかけた女性", "をかけた女性"),
        ("帽子", "女性、帽子、笑顔", "女性、笑顔"),
        ("안경", "안경을 쓴 여자", "을 쓴 여자"),
    ],
)
def test_whole_words_are_found(text: str, prompt: str, without: str) -> None:
    assert taken_out(text, prompt) == without


@pytest.mark.parametrize("text", ["hat,", ", hat", " hat\n", "(hat:1.3)", "((hat):1.2)", "(hat,)"])
def test_a_texts_own_weight_and_commas_are_no_part_of_what_is_found(text: str) -> None:
    assert taken_out(text, "a face, (hat:1.1), smile") == "a face, smile"


@pytest.mark.parametrize(
    ("text", "prompt", "with_it"),
    [
        ("hat", "a face", "a face, hat"),
        (" hat, ", "a face", "a face, hat"),
        ("hat", "a face, ", "a face, hat"),
        ("hat", "A face.", "A face. hat"),
        ("hat", "(a face:1.2)", "(a face:1.2), hat"),
        ("(hat:1.3)", "a face", "a face, (hat:1.3)"),
        ("hat", "", "hat"),
        ("微笑", "一个女人。", "一个女人。 微笑"),
    ],
)
def test_a_text_that_is_not_named_follows_the_prompt(text: str, prompt: str, with_it: str) -> None:
    compared = compared_texts(text, prompt)
    assert (compared.text, compared.instead_of) == (with_it, prompt)


@pytest.mark.parametrize("prompt", ["", "a face, (hat:1.2), ", "一个女人"])
@pytest.mark.parametrize("text", ["", ", ,", "()", "(:1.2)", "\u3000"])
def test_an_empty_text_changes_nothing(text: str, prompt: str) -> None:
    assert compared_texts(text, prompt) == compared_texts(text, prompt, "coat")
    assert compared_texts(text, prompt) == ComparedTexts(prompt, prompt)
    assert compared_texts(text, prompt).text == prompt


@pytest.mark.parametrize(
    ("text", "prompt", "instead_of", "with_it", "without"),
    [
        ("hat", "a hat", "cap", "a hat", "a cap"),
        ("hat", "a cap", "cap", "a hat", "a cap"),
        ("hat", "a face", "cap", "a face, hat", "a face"),
        ("hat", "a hat and a cap", "cap", "a hat and a cap", "a cap and a cap"),
        ("hat", "cap, a face, cap", "cap", "hat, a face, hat", "cap, a face, cap"),
        ("hat", "embedding:cap", "cap", "embedding:cap, hat", "embedding:cap"),
        ("ginger hair", "a face, black hair, smile", "black hair", "a face, ginger hair, smile", None),
        ("ginger hair", "a face, (black hair, smile:1.2)", "black hair", "a face, (ginger hair, smile:1.2)", None),
        ("ginger hair", "1girl, black_hair", "black hair", "1girl, ginger hair", None),
        ("hat", "a (cap:1.2), smile", "cap", "a (hat:1.2), smile", None),
        ("(hat:1.3)", "a cap, smile", "cap", "a (hat:1.3), smile", None),
        ("微笑", "一个皱眉的女人", "皱眉", "一个微笑的女人", None),
        ("", "a face, a cap", "cap", "a face, a", "a face, a cap"),
        # A text within the other one does not count.
        ("hat", "a man in a red hat", "red hat", "a man in a hat", "a man in a red hat"),
        ("red hat", "a man in a red hat", "hat", "a man in a red hat", "a man in a hat"),
        ("beard", "a man, no beard", "no beard", "a man, beard", "a man, no beard"),
        ("no beard", "a man, no beard", "beard", "a man, no beard", "a man, beard"),
    ],
)
def test_a_text_takes_the_place_of_another(
    text: str, prompt: str, instead_of: str, with_it: str, without: str | None
) -> None:
    compared = compared_texts(text, prompt, instead_of)
    assert (compared.text, compared.instead_of) == (with_it, prompt if without is None else without)


@pytest.mark.parametrize("prompt", ["hat", "a (hat:1.2), a hat", "一个女人 hat"])
def test_a_text_instead_of_itself_changes_nothing(prompt: str) -> None:
    assert compared_texts("hat", prompt, "hat") == ComparedTexts(prompt, prompt)


@pytest.mark.parametrize(
    ("text", "instead_of", "with_it", "without"),
    [
        ("hat", "", "hat", None),
        ("hat", "cap", "hat", "cap"),
        ("smiling, smile", " ", "smiling, smile", None),
        ("", "cap", "", "cap"),
    ],
)
def test_without_a_prompt_the_texts_stand_alone(text: str, instead_of: str, with_it: str, without: str | None) -> None:
    compared = compared_texts(text, instead_of=instead_of)
    assert (compared.text, compared.instead_of) == (with_it, without)


SIGNS = ["(", ")", "((", "))", "[", "]", r"\(", r"\)", ":1.2)", ":", "1", ",", ", ", "，", "、", ".", "!", " ", "  "]
PIECES = [
    "hat",
    "Hat",
    "cap",
    "red",
    "no",
    "top_hat",
    "embedding:",
    "眼镜",
    "帽子",
    "'s",
    "-",
    "_",
    "\n",
    "\\",
    "\u3000",
]
anything = st.text(max_size=20) | st.lists(st.sampled_from([*SIGNS, *PIECES]), max_size=14).map("".join)
named = st.sampled_from(["hat", "cap", "red hat", "眼镜", "embedding:hat", "(hat:1.3)"]) | anything


@FUZZ
@given(named, anything, named)
def test_one_of_the_two_texts_is_the_prompt(text: str, prompt: str, instead_of: str) -> None:
    compared = compared_texts(text, prompt, instead_of)
    assert prompt in (compared.text, compared.instead_of)


@FUZZ
@given(named, named)
def test_without_a_prompt_any_text_is_left_as_it_is(text: str, instead_of: str) -> None:
    compared = compared_texts(text, None, instead_of)
    assert (compared.text, compared.instead_of) == (text.strip(), instead_of.strip() or None)


@FUZZ
@given(named, anything)
def test_what_is_taken_out_is_not_named_any_more(text: str, prompt: str) -> None:
    without = compared_texts(text, prompt).instead_of
    assert without is not None
    assert not is_named(text, without)


@FUZZ
@given(named, anything)
def test_taking_out_adds_nothing(text: str, prompt: str) -> None:
    left = iter(prompt)
    assert all(letter in left for letter in compared_texts(text, prompt).instead_of or "")


WORDS = ["a face", "smile", "(smile:1.2)", "[old]", "coat", "embedding:coat", "woman. A dog", "微笑", "帽子"]
around = st.lists(st.sampled_from(WORDS), max_size=4)
wrapped = st.sampled_from(["{}", "({})", "({}:1.3)", "(({}))", "[{}]", "a {}", "(red, {}:1.2)", "戴{}的人"])
separators = st.sampled_from([", ", ",", " ", "\n", "，", ". ", " , ", ",\n"])


@FUZZ
@given(around, around, separators, wrapped, st.sampled_from([("hat", "cap"), ("眼镜", "眼鏡"), ("red scarf", "tie")]))
def test_the_other_side_of_an_exchange_gives_the_same_two_texts(
    before: list[str], after: list[str], separator: str, wrap: str, pair: tuple[str, str]
) -> None:
    first, second = pair
    prompt = separator.join([*before, wrap.format(first), *after])
    other = separator.join([*before, wrap.format(second), *after])
    for text, instead_of in (pair, pair[::-1]):
        for side in (prompt, other):
            compared = compared_texts(text, side, instead_of)
            expected = (prompt, other) if text == first else (other, prompt)
            assert (compared.text, compared.instead_of) == expected


@FUZZ
@given(around, separators, st.sampled_from(["hat", "red scarf", "眼镜", "(hat:1.2)", "embedding:hat"]))
def test_what_was_added_is_taken_out_again(words: list[str], separator: str, text: str) -> None:
    prompt = separator.join(words)
    compared = compared_texts(text, prompt)
    assert compared_texts(text, compared.text).text == compared.text
    assert compared_texts(text, compared.text).instead_of == prompt
