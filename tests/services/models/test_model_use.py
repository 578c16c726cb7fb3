"""What may be done with a model: licences of all it was made from, owners of its footage, retirement, approval."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_place import STATION, STUDIO, pool, terms_of
from model_factory import ANN, BOB, adapter_bytes, release_adapter, release_classifier, run_facts
from weights_factory import lora_tensors

from malan.core.errors import NotFound, NotGranted, ProofError, Rejected, UsageError
from malan.inference.tensors import Tensor, write_tensors
from malan.models.safetensors import read_adapter
from malan.rights.holders import Holders
from malan.rights.meter import CLIP_SECONDS
from malan.rights.terms import party_id
from malan.rights.usage import Usage
from malan.services.access import BUYER, OWNER, Caller
from malan.services.datasets.freezing import show_snapshot
from malan.services.footage.withdrawal import withdraw_asset
from malan.services.models.bases import add_base, base_files
from malan.services.models.cards import card_markdown, compare_models, describe_model
from malan.services.models.exports import export_model
from malan.services.models.merge import merge_models, read_weights
from malan.services.models.registry import register_model, weights_bytes
from malan.services.models.rights import Asked, approve_model, confirm_limit, decide_model_use, retire_model
from malan.services.models.rows import ModelRow, find_model
from malan.services.models.royalties import charge_model, charge_trained, trained_parts
from malan.services.models.shares import shares_of_run
from malan.services.models.tables import MODELS, SHARES
from malan.services.models.trace import describe_trace, trace_model
from malan.services.settlement.metering import meter
from malan.workspace import Workspace

HALF = [Fraction(1, 2), Fraction(1, 2)]


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "ws")
    yield ws
    ws.log.close()
    ws.database.dispose()


def tiny_base(ws: Workspace, folder: Path, licence: str = "Apache-2.0", **more: str) -> ModelRow:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(write_tensors([Tensor.of("w", np.ones((2, 2)))]))
    return add_base(ws, folder, licence=licence, family="wan", **more)


def codes(ws: Workspace, model: ModelRow, asked: Asked | str) -> set[str]:
    return {reason.code for reason in decide_model_use(ws, model, asked).reasons}


def trained(ws: Workspace, snapshot: str, **more: object) -> ModelRow:
    run = run_facts(50, isolation="sandbox", party=party_id("买方"))
    given = {"name": "夜景", "licence": "agreement", "run": run, "snapshot_id": snapshot} | more
    return register_model(ws, adapter_bytes(50), **given)  # type: ignore[arg-type]


def test_a_base_stays_where_it_lies_and_is_checked_before_use(ws: Workspace, tmp_path: Path) -> None:
    base = tiny_base(ws, tmp_path / "wan", source="hf:org/wan")
    assert (base.title, base.kind, base.shares) == ("wan@1", "base", {})
    assert set(base_files(ws, "wan")) == {"config.json", "model.safetensors"}
    assert not any(path.is_file() for path in (ws.root / "blobs").rglob("*"))
    (tmp_path / "wan" / "config.json").write_text('{"a": 1}')
    with pytest.raises(ProofError):
        base_files(ws, base.id)


def test_the_digest_decides_and_a_licence_nobody_knows_is_refused(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ProofError):
        tiny_base(ws, tmp_path / "wan", digest="sha256:" + "0" * 64)
    with pytest.raises(UsageError):
        tiny_base(ws, tmp_path / "wan", licence="Homemade-1.0")
    base = tiny_base(ws, tmp_path / "wan")
    assert tiny_base(ws, tmp_path / "wan", digest=base.id[:12]).id == base.id


def test_a_sub_model_stands_under_the_licence_of_its_base_too(ws: Workspace, tmp_path: Path) -> None:
    base = tiny_base(ws, tmp_path / "base", "CC-BY-NC-4.0")
    model = release_adapter(ws, base_id=base.id)
    decision = decide_model_use(ws, model, "apply")
    assert [reason.code for reason in decision.reasons] == ["models.why.ancestor"]
    assert "NonCommercial" in decision.reasons[0].text("zh")
    assert decide_model_use(ws, model, Asked("apply", is_commercial=False)).allowed


def test_a_threshold_is_confirmed_by_a_person_once_and_stated(ws: Workspace, tmp_path: Path) -> None:
    base = tiny_base(ws, tmp_path / "base", "ltx-2")
    model = release_adapter(ws, base_id=base.id)
    assert not decide_model_use(ws, model, "apply").allowed
    with pytest.raises(UsageError):
        confirm_limit(ws, base.id, "usd_a_year<=1")
    confirm_limit(ws, base.id, "usd_a_year<=10000000", reason="财报")
    confirm_limit(ws, base.id, "usd_a_year<=10000000")
    assert decide_model_use(ws, model, "apply").allowed


def test_a_retired_model_and_all_made_from_it_are_refused_with_the_reason(ws: Workspace, tmp_path: Path) -> None:
    first, second = release_adapter(ws, 1), release_adapter(ws, 2)
    merged = merge_models(ws, [first.id, second.id], HALF, name="general").model
    assert decide_model_use(ws, merged, "apply").allowed
    with pytest.raises(UsageError):
        retire_model(ws, first.id, " ")
    assert retire_model(ws, first.id, "权利人要求下架").state == "retired"
    assert retire_model(ws, first.id, "again").state == "retired"
    for model in (find_model(ws, first.id), merged):
        decision = decide_model_use(ws, model, "apply")
        assert not decision.allowed
        assert "权利人要求下架" in decision.reasons[0].text("zh")
    with pytest.raises(NotGranted):
        merge_models(ws, [first.id, second.id], HALF, name="later")
    with pytest.raises(NotGranted):
        export_model(ws, merged.id, tmp_path / "out")


def test_a_model_leaves_when_the_terms_let_its_form_out(ws: Workspace, tmp_path: Path) -> None:
    model = trained(ws, pool(ws))
    assert decide_model_use(ws, model, "export").allowed
    weights = register_model(ws, write_tensors([Tensor.of("w", np.ones(3))]), name="w", licence="agreement",
                             run=run_facts(51, isolation="sandbox"), snapshot_id=model.snapshot_id)  # fmt: skip
    assert codes(ws, weights, "export") == {"models.why.terms"}
    assert decide_model_use(ws, weights, "apply").allowed


@pytest.mark.parametrize("lost", ["isolation", "tier"])
def test_a_run_that_does_not_say_how_it_was_shut_in_counts_as_the_worst(ws: Workspace, lost: str) -> None:
    run = {name: value for name, value in run_facts(60, isolation="sandbox").items() if name != lost}
    assert codes(ws, trained(ws, pool(ws), run=run), "export") == {"models.why.terms"}


def test_owners_who_refuse_by_their_terms_may_approve_the_model_itself(ws: Workspace) -> None:
    snapshot = pool(ws, station=terms_of(STATION, egress=["metrics"]), studio=terms_of(STUDIO, egress=["metrics"]))
    model = trained(ws, snapshot)
    station, studio = (Caller(party_id(name), frozenset({OWNER}), "session") for name in (STATION, STUDIO))
    assert not decide_model_use(ws, model, "export").allowed
    approve_model(ws, model.id, "export", reason="合同第七条", caller=station)
    assert not decide_model_use(ws, model, "export").allowed
    approve_model(ws, model.id, "export", caller=studio)
    approve_model(ws, model.id, "export", caller=studio)
    assert decide_model_use(ws, model, "export").allowed
    assert not decide_model_use(ws, model, "serve").allowed
    assert [one["use"] for one in describe_model(ws, model)["decisions"]] == ["export", "export"]


def test_only_who_has_a_share_approves(ws: Workspace) -> None:
    model = release_adapter(ws, shares={ANN: Fraction(1)})
    with pytest.raises(NotFound):
        approve_model(ws, model.id, "export", caller=Caller(BOB, frozenset({OWNER}), "session"))
    buyers = release_adapter(ws, 2, party_id="buyer")
    with pytest.raises(NotGranted):
        approve_model(ws, buyers.id, "export", caller=Caller("buyer", frozenset({BUYER}), "session"))
    with pytest.raises(UsageError):
        approve_model(ws, model.id, "steal")


def test_footage_that_was_taken_back_keeps_the_model_in(ws: Workspace) -> None:
    model = trained(ws, pool(ws))
    asset = show_snapshot(ws, model.snapshot_id or "")[1].entries[0].clip.asset_id
    reach = withdraw_asset(ws, asset, "ended").reach
    assert reach.models == (model.id,)
    assert codes(ws, model, "export") == {"models.why.withdrawn"}
    assert any(used["withdrawn"] for used in describe_trace(trace_model(ws, model.id))["lineage"][0]["assets"])


def test_a_buyer_exports_its_own_model_and_no_other(ws: Workspace, tmp_path: Path) -> None:
    model = trained(ws, pool(ws))
    buyer = Caller(party_id("买方"), frozenset({BUYER}), "session")
    assert export_model(ws, model.id, tmp_path / "mine", caller=buyer).digest == model.id
    with pytest.raises(NotFound):
        export_model(ws, model.id, tmp_path / "theirs", caller=Caller("x", frozenset({BUYER}), "session"))
    assert not (tmp_path / "theirs").exists()


def test_an_exported_adapter_comes_with_cards_a_configuration_and_a_proof(ws: Workspace, tmp_path: Path) -> None:
    model = release_adapter(ws, 3, name="夜景", rank=5)
    done = export_model(ws, "夜景", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(done.files)
    assert (tmp_path / "out" / "pytorch_lora_weights.safetensors").read_bytes() == weights_bytes(ws, model)
    assert json.loads((tmp_path / "out" / "model.json").read_text())["model"] == model.id
    with pytest.raises(UsageError):
        export_model(ws, "夜景", tmp_path / "out")
    with pytest.raises(UsageError):
        export_model(ws, "夜景", tmp_path / "new", form="pickle")


def test_an_adapter_with_the_names_of_peft_comes_with_its_configuration(ws: Workspace, tmp_path: Path) -> None:
    tensors = [replace(one, name=f"base_model.model.{one.name}") for one in lora_tensors(4, rank=5).values()]
    register_model(ws, write_tensors(tensors), name="text", licence="MIT", shares={ANN: Fraction(1)})
    export_model(ws, "text", tmp_path / "out")
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (5, 5)
    assert config["target_modules"] == ["blocks.0.attn.to_q", "blocks.0.attn.to_v", "blocks.1.ff.net"]


def test_nothing_is_concluded_when_an_ancestor_is_not_on_record(ws: Workspace, tmp_path: Path) -> None:
    base = tiny_base(ws, tmp_path / "b")
    model = release_adapter(ws, base_id=base.id)
    with ws.database.begin() as connection:
        connection.execute(MODELS.delete().where(MODELS.c.id == base.id))
    with pytest.raises(ProofError):
        decide_model_use(ws, model, "apply")


def test_a_classifier_leaves_as_onnx_that_was_compared(ws: Workspace, tmp_path: Path) -> None:
    release_classifier(ws, hidden=4)
    done = export_model(ws, "景别", tmp_path / "out", form="onnx")
    assert done.difference is not None
    assert done.difference < 1e-5
    assert (tmp_path / "out" / "model.onnx").is_file()
    release_adapter(ws, 9, name="lora")
    with pytest.raises(Rejected):
        export_model(ws, "lora", tmp_path / "no", form="onnx")
    assert not (tmp_path / "no").exists()


def test_merging_adds_products_and_shares_follow(ws: Workspace) -> None:
    parts = [
        release_adapter(ws, 1, shares={ANN: Fraction(1)}),
        release_adapter(ws, 2, rank=6, shares={BOB: Fraction(1)}),
    ]
    done = merge_models(ws, ["adapter-1", "adapter-2"], read_weights("0.6, 0.4"), name="general")
    assert (done.model.kind, done.rank, done.error) == ("merged", 10, 0.0)
    assert done.model.shares == {ANN: Fraction(3, 5), BOB: Fraction(2, 5)}
    ours = read_adapter(weights_bytes(ws, done.model))
    theirs = [read_adapter(weights_bytes(ws, part)) for part in parts]
    for module, pair in ours.pairs.items():
        wanted = 0.6 * theirs[0].pairs[module].product() + 0.4 * theirs[1].pairs[module].product()
        assert np.linalg.norm(pair.product() - wanted) <= 1e-6 * np.linalg.norm(wanted)
    again = merge_models(ws, [done.model.id, parts[0].id], read_weights("1/2,1/2"), name="more", rank=3)
    assert again.error > 0
    assert again.model.shares == {ANN: Fraction(4, 5), BOB: Fraction(1, 5)}
    trace = describe_trace(trace_model(ws, "more"))
    assert sorted(one["kind"] for one in trace["lineage"]) == ["merged", "merged", "sub", "sub"]
    assert sum(one["share"] for one in trace["owners"]) == 1


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_shares_of_merges_of_merges_add_to_one_and_are_those_of_one_merge(
    data: st.DataObject, tmp_path_factory
) -> None:
    """(a·A + b·B) merged with C is a·A, b·B, c·C merged at once, when the weights say the same."""
    ws = Workspace.create(tmp_path_factory.mktemp("merges"))
    number = st.integers(1, 9)
    shares = [_drawn_shares(data.draw(st.lists(number, min_size=1, max_size=3))) for _ in range(3)]
    a, b, c = (Fraction(data.draw(number), data.draw(number)) for _ in range(3))
    ids = [release_adapter(ws, seed, rank=1, shares=one).id for seed, one in enumerate(shares)]
    inner = merge_models(ws, ids[:2], [a, b], name="inner").model
    outer = merge_models(ws, [inner.id, ids[2]], [a + b, c], name="outer").model
    whole = merge_models(ws, ids, [a, b, c], name="whole").model
    assert sum(outer.shares.values()) == 1
    assert outer.shares == whole.shares
    ws.log.close()
    ws.database.dispose()


def test_what_cannot_be_merged_is_refused(ws: Workspace, tmp_path: Path) -> None:
    base = tiny_base(ws, tmp_path / "b")
    release_adapter(ws, 1)
    release_adapter(ws, 2, base_id=base.id)
    release_adapter(ws, 3, licence="MIT")
    release_classifier(ws)
    for models, wanted in (
        (["adapter-1", "adapter-2"], "merge.other_base"),
        (["adapter-1", "景别"], "models.not_mergeable"),
        (["adapter-2", "b"], "models.not_mergeable"),
        (["adapter-1", "adapter-3"], "models.licences_differ"),
        (["adapter-1", "adapter-1"], "models.bad_weights"),
        (["adapter-1"], "models.bad_weights"),
    ):
        with pytest.raises((Rejected, UsageError)) as caught:
            merge_models(ws, models, HALF, name="x")
        assert caught.value.code == wanted
    assert merge_models(ws, ["adapter-1", "adapter-3"], HALF, name="x", licence="MIT").model.licence == "MIT"
    release_adapter(ws, 4, licence="ltx-2")
    confirm_limit(ws, "adapter-4", "usd_a_year<=10000000")
    with pytest.raises(Rejected):
        merge_models(ws, ["adapter-1", "adapter-4"], HALF, name="looser", licence="Apache-2.0")
    assert merge_models(ws, ["adapter-1", "adapter-4"], HALF, name="y", licence="ltx-2").model.licence == "ltx-2"


def test_money_for_a_merged_model_reaches_the_owners_by_their_shares(ws: Workspace) -> None:
    counted = meter(ws)
    counted.open("g", {CLIP_SECONDS: None})
    hold = counted.reserve("g", CLIP_SECONDS, 10**9, key="k")
    whole = {owner: Holders(ws.database).now({owner: owner})[owner] for owner in (ANN, BOB)}
    ids = []
    for number, used in enumerate(({ANN: 3, BOB: 1}, {BOB: 5})):
        run = run_facts(number, grant="g")
        rows = [
            Usage("g", "-", owner, owner, whole[owner], f"run:{run['id']}", seconds * 10**6)
            for owner, seconds in used.items()
        ]
        counted.consume(hold, sum(row.amount for row in rows), rows, key=f"r{number}")
        ids.append(release_adapter(ws, number, run=run, shares=shares_of_run(ws, run["id"])).id)
    merged = merge_models(ws, ids, read_weights("0.75,-0.25"), name="general").model
    assert merged.shares == {ANN: Fraction(9, 16), BOB: Fraction(7, 16)}
    inner = merge_models(ws, [merged.id, ids[0]], HALF, name="deeper").model
    charges = charge_model(ws, "general", "g", 1601, "CNY", key="month")
    assert sum(one.gross_minor for one in charges) == 1601
    assert {one.about.removeprefix("run:") for one in charges} == {run_facts(0)["id"], run_facts(1)["id"]}
    assert charge_model(ws, "general", "g", 1601, "CNY", key="month") == charges
    assert sum(trained_parts(ws, inner).values()) == 1
    base = register_model(ws, adapter_bytes(77), name="base", licence="MIT")
    with pytest.raises(Rejected):
        charge_model(ws, base.id, "g", 100, "CNY", key="no")
    film = charge_trained(ws, [inner.id, base.id, ids[1]], 999, "CNY", key="film")
    assert sum(one.gross_minor for one in film) == 999
    assert {one.grant_id for one in film} == {"g"}
    assert charge_trained(ws, [base.id], 999, "CNY", key="other") == []


def test_the_territory_of_the_workspace_holds_where_nobody_says_another(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "cn")
    (tmp_path / "cn" / "malan.toml").write_text('territory = "CN"\n')
    ws = Workspace(tmp_path / "cn")
    model = release_adapter(ws, licence="tencent-hunyuan-community")
    assert decide_model_use(ws, model, Asked("apply", is_commercial=False)).allowed
    assert codes(ws, model, Asked("apply", is_commercial=False, territory="FR")) == {"licence.territory"}
    ws.log.close()
    ws.database.dispose()


@pytest.mark.parametrize("text", ["", "0.5,0", "a", "1/0", "1e9", "nan", "0.5,,0.5", "9" * 50])
def test_weights_are_exact_numbers_other_than_zero(text: str) -> None:
    with pytest.raises(UsageError):
        read_weights(text)


def test_a_trace_that_was_tampered_with_is_found(ws: Workspace) -> None:
    model = release_adapter(ws)
    assert trace_model(ws, model.id).lineage[0].events
    with ws.database.begin() as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        guard = f"{SHARES.name}_no_update" if is_sqlite else f"{SHARES.name}_stays ON {SHARES.name}"
        connection.exec_driver_sql(f"DROP TRIGGER {guard}")
        connection.execute(SHARES.update().values(party_id=BOB))
    with pytest.raises(ProofError):
        trace_model(ws, model.id)


def test_the_card_is_the_same_in_both_languages_and_cannot_be_broken_out_of(ws: Workspace, tmp_path: Path) -> None:
    base = tiny_base(ws, tmp_path / "b", licence="ltx-2", source='hf:a/"b"\n# x')
    model = release_adapter(
        ws,
        base_id=base.id,
        run=run_facts(1, algorithm="a|<script>\n# b"),
        evaluation={"base": {"loss": "1.2"}, "loss": "0.8"},
    )
    for lang in ("en", "zh"):
        card = card_markdown(ws, model, lang)
        assert model.id in card
        assert "base.loss" in card
        assert "<script>" not in card
        assert sum(line.startswith("# ") for line in card.splitlines()) == 1
    assert "素材权利人" in card_markdown(ws, model, "zh")
    assert "LTX-2 Community License, Attachment A" in card_markdown(ws, base, "en")


def test_two_models_are_compared_by_figures_shares_and_distance(ws: Workspace) -> None:
    release_adapter(ws, 1, evaluation={"accuracy": "0.8"})
    release_adapter(ws, 2, evaluation={"accuracy": "0.9", "f1": "0.7"}, shares={BOB: Fraction(1)})
    found = compare_models(ws, "adapter-1", "adapter-2")
    assert found["metrics"] == {"accuracy": ["0.8", "0.9"], "f1": [None, "0.7"]}
    assert found["distance"] > 0.5
    assert compare_models(ws, "adapter-1", "adapter-1")["distance"] == pytest.approx(0, abs=1e-6)
    release_classifier(ws)
    assert compare_models(ws, "adapter-1", "景别")["distance"] is None


def _drawn_shares(numbers: list[int]) -> dict[str, Fraction]:
    return {f"{number}{'0' * 60}": Fraction(one, sum(numbers)) for number, one in enumerate(numbers)}
