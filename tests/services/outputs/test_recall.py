"""A recall finds every published file a model had a part in, marks it in the log, and can be taken back."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from model_factory import ANN, release_adapter, run_facts
from PIL import Image
from typer.testing import CliRunner

from malan.core.errors import NotFound, NotGranted, UsageError
from malan.core.ids import digest_bytes
from malan.ledger.statement import Input, Subject, urn
from malan.services.access import Caller
from malan.services.journal import Fact, forget, read_event, record
from malan.services.log.keys import init_keys
from malan.services.log.reading import verify_log
from malan.services.models.merge import merge_models
from malan.services.models.rights import retire_model
from malan.services.outputs.manifests import log_output
from malan.services.outputs.publish import AiPart, Draft, publish
from malan.services.outputs.recall import RECALLED, marks_of, recall_model, restore_outputs
from malan.workspace import Workspace

CODE = "001191110000802100433B10001"  # a well-formed code of an organisation that does not exist


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "malan.toml").write_text(f'organisation = "湖南台"\nproducer_code = "{CODE}"\n', "utf-8")
    return Workspace(tmp_path / "ws")


def made(ws: Workspace, name: str, *model_ids: str) -> str:
    """A file published under an intent that names models; its digest. No media are rendered."""
    body = digest_bytes(name.encode())
    models = tuple(Input(urn("model", one), one, "inputTo") for one in model_ids)
    facts = {"app": "video", "mode": "diffuse"}
    (intent,) = record(ws, [Fact("gen.intent", (Subject(urn("intent", body), body),), "publish", models, facts)])
    path = ws.root / name
    path.write_text(name)
    return log_output(ws, path, app="video", mode="diffuse", sources=(), intent=intent)[0]


def test_a_published_picture_of_a_model_is_recalled_and_its_trace_says_so(ws: Workspace, tmp_path: Path) -> None:
    init_keys(ws)
    model = release_adapter(ws, 1)

    def draw(path: Path) -> None:
        Image.effect_mandelbrot((480, 320), (-2, -1.5, 1, 1.5), 60).convert("RGB").save(path)

    draft = Draft("picture", "diffuse", "云海", (), ai=AiPart("generated", (model.id,)))
    output = publish(ws, draft, draw, tmp_path / "out.png").output_id
    found = recall_model(ws, model.title, reason="版权争议")
    assert [one.output_id for one in found.outputs] == [output]
    (mark,) = marks_of(ws, [output])[output]
    assert (mark.model_id, mark.reason) == (model.id, "版权争议")
    statement = read_event(ws, mark.event).statement
    assert (statement.kind, statement.facts["state"]) == ("output.recall", RECALLED)
    verify_log(ws)

    from malan.cli.main import app

    said = CliRunner().invoke(app, ["output", "trace", output[:16], "--workspace", str(ws.root), "--json"])
    assert json.loads(said.output)["recalled"][0]["reason"] == "版权争议"
    shown = CliRunner().invoke(app, ["output", "trace", str(tmp_path / "out.png"), "--workspace", str(ws.root)])
    assert "版权争议" in shown.output


def test_only_files_of_the_model_are_found(ws: Workspace) -> None:
    first, other = release_adapter(ws, 1), release_adapter(ws, 2)
    wanted, both, strange = made(ws, "a", first.id), made(ws, "b", first.id, other.id), made(ws, "c", other.id)
    found = recall_model(ws, first.title, reason="why")
    assert {one.output_id for one in found.outputs} == {wanted, both}
    assert set(marks_of(ws, [wanted, both, strange])) == {wanted, both}
    assert all(one.is_new for one in found.outputs)


def test_said_again_only_what_came_since_is_marked(ws: Workspace) -> None:
    model = release_adapter(ws, 1)
    made(ws, "a", model.id)
    size = recall_model(ws, model.title, reason="why") and ws.log.reader.size
    again = recall_model(ws, model.title, reason="why")
    assert [one.is_new for one in again.outputs] == [False]
    assert ws.log.reader.size == size
    later = made(ws, "b", model.id)
    assert [one.output_id for one in recall_model(ws, model.title, reason="why").outputs if one.is_new] == [later]


def test_files_of_what_was_made_from_it_are_found_too(ws: Workspace) -> None:
    first, other = release_adapter(ws, 1), release_adapter(ws, 2)
    merged = merge_models(ws, [first.title, other.title], [Fraction(1, 2), Fraction(1, 2)], name="both").model
    output = made(ws, "a", merged.id)
    assert recall_model(ws, first.title, reason="why", descendants=False).outputs == ()
    (found,) = recall_model(ws, first.title, reason="why").outputs
    assert (found.output_id, found.model_id) == (output, merged.id)


def test_files_that_carry_a_file_on_are_found_too(ws: Workspace) -> None:
    model = release_adapter(ws, 1)
    first = made(ws, "a", model.id)
    second = digest_bytes(b"cut of a")
    carried = Fact(
        "label.propagate", (Subject(urn("output", second), second),), "propagate",
        (Input(urn("output", first), first, "parentOf"),), {"label": {"kind": "1"}},
    )  # fmt: skip
    record(ws, [carried])
    found = recall_model(ws, model.title, reason="why")
    assert {one.output_id for one in found.outputs} == {first, second}


def test_a_recall_is_taken_back_by_a_new_event_and_may_come_again(ws: Workspace) -> None:
    model = release_adapter(ws, 1)
    output = made(ws, "a", model.id)
    for _ in range(3):
        size = ws.log.reader.size
        recall_model(ws, model.title, reason="why")
        assert output in marks_of(ws, [output])
        undone = restore_outputs(ws, model.title, reason="a mistake")
        assert [one.output_id for one in undone.outputs] == [output]
        assert marks_of(ws, [output]) == {}
        assert ws.log.reader.size == size + 2
    assert restore_outputs(ws, model.title, reason="again").outputs == ()
    verify_log(ws)


def test_two_models_mark_one_file_each_for_itself(ws: Workspace) -> None:
    first, other = release_adapter(ws, 1), release_adapter(ws, 2)
    output = made(ws, "a", first.id, other.id)
    recall_model(ws, first.title, reason="one")
    recall_model(ws, other.title, reason="two")
    assert {one.reason for one in marks_of(ws, [output])[output]} == {"one", "two"}
    restore_outputs(ws, first.title, reason="back")
    assert [one.reason for one in marks_of(ws, [output])[output]] == ["two"]


def test_a_retired_model_is_recalled_too(ws: Workspace) -> None:
    model = release_adapter(ws, 1)
    output = made(ws, "a", model.id)
    retire_model(ws, model.title, "leaked")
    assert recall_model(ws, model.id, reason="leaked").outputs[0].output_id == output


def test_looking_marks_nothing(ws: Workspace) -> None:
    model = release_adapter(ws, 1)
    output = made(ws, "a", model.id)
    assert recall_model(ws, model.title, reason="", dry=True).outputs[0].event is None
    assert marks_of(ws, [output]) == {}


def test_a_reason_that_was_forgotten_leaves_the_mark(ws: Workspace) -> None:
    model = release_adapter(ws, 1)
    output = made(ws, "a", model.id)
    recall_model(ws, model.title, reason="张三投诉")
    (mark,) = marks_of(ws, [output])[output]
    forget(ws, read_event(ws, mark.event))
    assert marks_of(ws, [output])[output][0].reason == ""


def test_who_may_not_and_what_makes_no_sense_is_refused(ws: Workspace) -> None:
    model = release_adapter(ws, 1)
    with pytest.raises(UsageError):
        recall_model(ws, model.title, reason=" ")
    with pytest.raises(NotFound):
        recall_model(ws, "nothing", reason="why")
    with pytest.raises(NotGranted):
        recall_model(ws, model.title, reason="why", caller=Caller(ANN, frozenset({"owner"}), "key"))


def test_the_command_recalls_tells_and_undoes(ws: Workspace) -> None:
    from malan.cli.main import app

    model = release_adapter(ws, 1, run=run_facts(1))
    output = made(ws, "a", model.id)

    def say(*words: str) -> str:
        done = CliRunner().invoke(app, ["model", "recall", model.title, *words, "--workspace", str(ws.root)])
        assert done.exit_code == 0, done.output
        return done.output

    assert json.loads(say("--dry-run", "--json"))["marked"] == 0
    told = json.loads(say("--reason", "why", "--json"))
    assert (told["outputs"][0]["output"], told["new"]) == (output, 1)
    assert output[:16] in say("--reason", "why")
    assert json.loads(say("--undo", "--reason", "mistake", "--json"))["new"] == 1
