"""Invisible characters become visible, long lines end, differences are found by words."""

import doctest

import pytest

from reports import cards, judges, markdown_parts, numbers, parquet, tables, text


@pytest.mark.parametrize("module", [text, numbers, tables, cards, judges, markdown_parts, parquet])
def test_examples_in_docstrings_hold(module: object):
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("a\u202eb", "a\\u202eb"),
        ("\u2028", "\\u2028"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("\r\n", "\\r\n"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_invisible_characters_are_written_as_escapes(raw: str, shown: str):
    assert text.visible(raw) == shown


@pytest.mark.parametrize("kept", ["tab\there\nnext", "日本語 العربية עברית", "👩‍👩‍👧", "نمی‌خواهم", "e\u0301"])
def test_ordinary_text_of_any_script_stays(kept: str):
    assert text.visible(kept) == kept


def test_differences_join_to_the_text_again():
    for ours, theirs in [
        ("a b  c", "a c"),
        ("", "x"),
        ("x", ""),
        ("東京へ行く", "東京に行く"),
        ("a, b.", "a b"),
        (" a ", "b"),
    ]:
        assert "".join(piece for piece, _ in text.differences(ours, theirs)) == ours


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        ("caf\u0065\u0301 au", ["caf\u0065\u0301", " ", "au"]),
        ("हिन्दी है", ["हिन्दी", " ", "है"]),
        ("東京へ行く", ["東", "京", "へ", "行", "く"]),
        ("don't, 3.5", ["don", "'", "t", ",", " ", "3", ".", "5"]),
        ("👍🏽!", ["👍", "🏽", "!"]),
    ],
)
def test_words_of_many_scripts_are_told_apart(raw: str, parts: list[str]):
    assert text.words(raw) == parts


def test_equal_texts_have_no_difference():
    assert not any(marked for _, marked in text.differences("the same words", "the  same\nwords"))


def test_very_long_texts_are_shown_without_marks():
    long = "word " * 2000
    assert text.differences(long, "other") == ((long, False),)


def test_numbers_never_show_a_negative_zero():
    assert numbers.number(-0.0001, 3, signed=True) == "0.000"


def test_fractions_get_three_places_and_percentages_two():
    assert (numbers.places([0.4, None]), numbers.places([41.2, float("nan")]), numbers.places([2500.0])) == (3, 2, 1)
