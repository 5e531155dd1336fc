"""`{field}` templates: one pass, strict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import HarnessError
from harness.data.template import compile_template


def fill(text: str, **row: object) -> str:
    return compile_template(text).render(row)


@pytest.mark.parametrize(
    ("template", "row", "text"),
    [
        ("{a} and {b}", {"a": "x", "b": "y"}, "x and y"),
        ("{{a}} {a}", {"a": "x"}, "{a} x"),
        ("{{{a}}}", {"a": "x"}, "{x}"),
        ("{customer.name}", {"customer": {"name": "Ada"}}, "Ada"),
        ("{customer.name}", {"customer.name": "whole", "customer": {"name": "Ada"}}, "whole"),
        ("{two words}", {"two words": "x"}, "x"),
        ("{n} {x}", {"n": 3, "x": 1.5}, "3 1.5"),
        ("nothing", {}, "nothing"),
        ("", {}, ""),
    ],
)
def test_holes_are_filled(template: str, row: dict[str, object], text: str):
    assert fill(template, **row) == text


@pytest.mark.parametrize("template", ["{", "}", "{}", "a {b", "a} b", '{"x": {y}}', "{{a}"])
def test_stray_brace_is_an_error_with_its_place(template: str):
    with pytest.raises(HarnessError, match="stray") as caught:
        compile_template(template)
    assert caught.value.code == "E-TEMPLATE"


def test_unknown_field_proposes_the_nearest():
    with pytest.raises(HarnessError) as caught:
        fill("{subjct}", subject="x", body="y")
    assert (caught.value.code, "did you mean 'subject'?" in caught.value.fix) == ("E-FIELD", True)


@pytest.mark.parametrize("path", ["{a.b}", "{a.b.c}", "{s.b}"])
def test_unknown_nested_field(path: str):
    with pytest.raises(HarnessError, match="no field"):
        fill(path, a={"x": 1}, s="text")


@pytest.mark.parametrize(("value", "name"), [(None, "null"), (True, "a boolean"), ([], "a list"), ({}, "an object")])
def test_other_values_are_not_spelled_out(value: object, name: str):
    with pytest.raises(HarnessError, match=f"is {name}") as caught:
        fill("x {a}", a=value)
    assert caught.value.code == "E-TYPE"


@given(st.text())
def test_what_a_field_holds_is_never_read_as_template(value: str):
    assert fill("<{a}|{b}>", a=value, b="{a}") == f"<{value}|{{a}}>"


@given(st.text())
def test_escaped_text_renders_as_itself(text: str):
    assert fill(text.replace("{", "{{").replace("}", "}}")) == text


def test_a_hole_alone_that_holds_a_list_gives_several_texts():
    assert compile_template("{a}").render_all({"a": ["x", 2]}) == ("x", "2")
    assert compile_template("{a}").render_all({"a": "x"}) == ("x",)
    with pytest.raises(HarnessError, match=r"'a\.1' is null"):
        compile_template("{a}").render_all({"a": ["x", None]})
    with pytest.raises(HarnessError, match="is a list"):
        compile_template("{a}.").render_all({"a": ["x"]})


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"outputs": "x", "output": "y"}, "x"),
        ({"output": "y"}, "y"),
        ({"outputs": None, "output": "y"}, "y"),
        ({"outputs|output": "z", "output": "y"}, "z"),
        ({"reply": {"text": "w"}}, "w"),
    ],
)
def test_of_alternatives_the_first_that_the_row_has_is_filled_in(row: dict[str, object], text: str):
    assert fill("{outputs | output|reply.text}" if "outputs|output" not in row else "{outputs|output}", **row) == text


def test_an_alternative_that_is_a_list_gives_several_texts():
    template = compile_template("{outputs|output}")
    assert template.render_all({"outputs": ["x", "y"]}) == ("x", "y")
    assert template.render_all({"output": "x"}) == ("x",)
    assert template.fields >= {"outputs", "output"}


def test_no_alternative_at_hand_names_them_all():
    with pytest.raises(HarnessError, match="no field 'outputs' or 'output'") as caught:
        fill("{outputs|output}", outptus="x")
    assert "did you mean 'outptus'?" in caught.value.fix


@pytest.mark.parametrize("text", ["{a|}", "{|a}", "{a||b}"])
def test_an_alternative_without_a_name_is_an_error(text: str):
    with pytest.raises(HarnessError, match="alternative without a name"):
        compile_template(text)
