"""Forms of apps: what most need stands first, each field has a name in both languages, what was said comes back."""

from __future__ import annotations

import pytest

from malan.apps.builtin import all_apps
from malan.apps.forms import app_form, said_by, values_of
from malan.core.catalogue import catalogue
from malan.services.access import SINGLE_USER, Caller

APPS = sorted(app.card.name for app in all_apps())
GUEST = Caller("party", frozenset({"buyer"}), "session")


@pytest.mark.parametrize("name", APPS)
def test_every_field_and_choice_has_a_name_in_both_languages(name: str) -> None:
    for lang in ("zh", "en"):
        form = app_form(name, lang, caller=SINGLE_USER)
        for field in (*form.fields, *form.rare):
            named = {f"form.{name}.{field.name}", f"form.{field.name}"} & catalogue().keys()
            assert named, f"{field.name} has no short name"
            assert all(one.label for one in field.choices)


@pytest.mark.parametrize("name", APPS)
def test_few_fields_stand_first_and_the_rest_is_folded(name: str) -> None:
    form = app_form(name, "zh", caller=SINGLE_USER)
    assert 1 <= len(form.fields) <= 12
    assert form.rare
    assert "grant" in {one.name for one in form.rare}
    assert not form.is_open


def test_something_said_among_the_rare_opens_them() -> None:
    assert app_form("promo", "en", caller=SINGLE_USER, said={"query": ["night"], "seed": ["7"]}).is_open


def test_places_on_this_machine_are_asked_of_whoever_runs_it_and_all_others_bring_their_files() -> None:
    for caller, kind in ((GUEST, "file"), (SINGLE_USER, "text")):
        form = app_form("picture", "en", caller=caller)
        found = {one.name: one for one in (*form.fields, *form.rare)}
        for name in ("file", "depth", "mask"):
            assert (found[name].kind, found[name].upload) == (kind, "image")
    assert "board" not in {one.name for one in app_form("promo", "en", caller=GUEST).rare}


def test_what_was_brought_before_is_shown_by_its_name() -> None:
    said = {"file": ["upload:" + "0" * 64 + "/photo.jpg"]}
    form = app_form("picture", "en", caller=GUEST, said=said)
    (field,) = (one for one in form.fields if one.name == "file")
    assert [(one.value, one.label, one.is_chosen) for one in field.choices] == [(*said["file"], "photo.jpg", True)]
    assert values_of("picture", said)["file"] == said["file"][0]


def test_a_sentence_that_says_the_label_again_is_left_out() -> None:
    helps = {one.name: one.help for one in app_form("promo", "zh", caller=SINGLE_USER).fields}
    assert helps["title"] == ""
    assert "夜景" in helps["query"]


def test_numbers_show_their_bounds_and_no_empty_digits() -> None:
    (length,) = (one for one in app_form("promo", "en", caller=SINGLE_USER).fields if one.name == "length")
    assert (length.value, length.least, length.most) == ("30", "3", "180")


def test_values_are_what_was_said_and_nothing_else() -> None:
    said = {"query": ["night"], "format": ["16:9", "9:16"], "length": ["15"], "title": [" "], "clips": ["a\n\n b "]}
    assert values_of("promo", said) == {
        "query": "night", "format": ("16:9", "9:16"), "length": "15", "clips": ("a", "b"),
        "own_sound": False, "plan_only": False,
    }  # fmt: skip


def test_a_run_can_be_asked_for_again_with_other_words() -> None:
    said = {"query": "夜景", "format": ["9:16"], "length": 12.5, "own_sound": False, "seed": 7, "title": ""}
    form = app_form("promo", "zh", caller=SINGLE_USER, said=said_by(said))
    shown = {one.name: one for one in (*form.fields, *form.rare)}
    assert (shown["query"].value, shown["length"].value, shown["seed"].value) == ("夜景", "12.5", "7")
    assert [one.value for one in shown["format"].choices if one.is_chosen] == ["9:16"]
    assert shown["own_sound"].value == ""
    assert form.is_open
    review = app_form("review", "en", caller=SINGLE_USER, said=said_by({"ai": False, "special": True}))
    chosen = {one.name: one.value for one in (*review.fields, *review.rare)}
    assert (chosen["ai"], chosen["special"]) == ("no", "yes")
