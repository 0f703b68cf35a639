"""A trace agrees with prediction and scoring, for every structure; and its parts fit together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from traces import CASES, Case, made, trace

from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.rows import Row
from antiphon.errors import ConfigError, DataError, ModelFolderError
from antiphon.inspection.explain import attribution as gradients
from antiphon.inspection.explain.attribution import input_x_gradient
from antiphon.inspection.explain.observe import Observed
from antiphon.inspection.trace import Layer, Run, Trace
from antiphon.model.models import LanguageModel, Writer
from antiphon.model.parts.recurrent import Cell
from antiphon.model.series import SeriesWriter
from antiphon.use.explaining import read_input
from antiphon.use.predictor import Predictor

WRITERS = [name for name, case in CASES.items() if isinstance(case.target, dict) and case.target["kind"] == "text"]
READERS = [name for name in CASES if name not in WRITERS and name != "next"]
SPEAKERS = [*WRITERS, "next"]
VARIED = [name for name in CASES if "varied" in name]  # layer normalisation and zoneout change what gates make
RECURRENT = [name for name in CASES if name not in ("image", "image label", "one to one", *VARIED)]


def score(name: str, output: object) -> float:
    """What `score` gives for an output of a case's input."""
    model, case = made(name), CASES[name]
    parts = case.content if isinstance(case.content, tuple) else (case.content,)
    values = tuple(codec.read_input(part) for codec, part in zip(model.codecs.sources, parts, strict=True))
    return model.score([Row(values, model.codecs.target.read(output, ""), "t", 1)])[0]


def check_run(run: Run) -> None:
    """A run's steps make its score, and its best choices are in order."""
    assert [step.token for step in run.steps] == run.tokens
    for step in run.steps:
        log_probs = [choice.log_prob for choice in step.top]
        assert log_probs == sorted(log_probs, reverse=True)
        assert all(choice.log_prob == step.log_prob for choice in step.top if choice.token == step.token)
    if run.attention is not None:
        np.testing.assert_allclose(np.sum(run.attention, 1), 1, atol=1e-4)
        assert len(run.attention) == len(run.steps)


# --- likelihoods --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_a_writers_scores_are_those_of_predict_and_score(name: str) -> None:
    explanation, case = trace(name), CASES[name]
    (best,) = made(name).predict([case.content], attention=True, token_scores=True)
    assert (explanation.output.text, explanation.output.tokens[:-1]) == (best.text, best.tokens)
    assert explanation.output.score == pytest.approx(best.score, abs=1e-5)
    assert [step.log_prob for step in explanation.output.steps] == pytest.approx(best.n_best[0].token_scores, abs=1e-5)
    assert explanation.reference is not None
    assert explanation.reference.score == pytest.approx(score(name, case.reference), abs=1e-5)
    assert explanation.reference.text == case.reference
    for run in (explanation.output, explanation.reference):
        check_run(run)
        assert sum(step.log_prob or 0.0 for step in run.steps) == pytest.approx(run.score, abs=1e-4)
    if best.attention is None:
        assert explanation.output.attention is None
    else:
        assert explanation.output.attention is not None
        np.testing.assert_allclose(explanation.output.attention, best.attention, atol=1e-5)
        assert len(best.attention[0]) == sum(len(source.tokens) for source in explanation.sources)


@pytest.mark.parametrize("name", READERS)
def test_a_readers_scores_are_those_of_predict_and_score(name: str) -> None:
    explanation, case, codec = trace(name), CASES[name], made(name).codecs.target
    (best,) = made(name).predict([case.content])
    assert explanation.output.text == best.text
    assert explanation.reference is not None
    assert explanation.reference.score == pytest.approx(score(name, case.reference), abs=1e-5)
    check_run(explanation.output)
    if not isinstance(codec, LabelCodec):
        plain = best.to_json().get("values", [[best.to_json().get("value")]])
        expected = np.reshape(plain, (len(explanation.output.steps), -1))  # a series of one number is a flat list
        np.testing.assert_allclose(
            np.asarray([step.values for step in explanation.output.steps], float), expected, rtol=1e-4, atol=1e-5
        )
        return
    check_run(explanation.reference)
    assert explanation.output.score == pytest.approx(score(name, explanation.output.text), abs=1e-5)
    probabilities = best.probabilities if codec.steps else [best.probabilities[best.label]]
    assert np.exp(np.asarray([step.log_prob for step in explanation.output.steps], float)) == pytest.approx(
        probabilities, abs=1e-5
    )
    if not codec.steps:
        top = {choice.token: np.exp(choice.log_prob) for choice in explanation.output.steps[0].top}
        assert top == pytest.approx(best.probabilities, abs=1e-5)
    if name != "tags, crf":  # whose labels are judged together
        assert sum(step.log_prob or 0.0 for step in explanation.reference.steps) == pytest.approx(
            explanation.reference.score
        )


def test_a_language_models_scores_are_those_of_the_whole_text() -> None:
    explanation, case = trace("next"), CASES["next"]
    (best,) = made("next").predict([case.content])
    assert explanation.output.text == best.text
    assert explanation.output.score == pytest.approx(best.score, abs=1e-5)
    assert explanation.prompt is not None
    assert explanation.reference is not None
    assert (explanation.prompt.tokens, explanation.reference.tokens) == (["a", "b"], ["c", "a", None])
    whole = made("next").score([Row((case.content + case.reference,), "", "t", 1)])
    assert [explanation.prompt.score + explanation.reference.score] == pytest.approx(whole, abs=1e-5)  # type: ignore[operator]


@pytest.mark.parametrize("name", SPEAKERS)
def test_the_divergence_is_the_first_difference(name: str) -> None:
    explanation = trace(name)
    assert explanation.reference is not None
    place = explanation.divergence
    assert place is not None
    assert explanation.output.tokens[:place] == explanation.reference.tokens[:place]
    assert explanation.output.tokens[place] != explanation.reference.tokens[place]
    same = made(name).explain(CASES[name].content, made(name).codecs.target.shown(_output_text(name, explanation)))
    assert same.divergence is None


def _output_text(name: str, explanation: Trace) -> str:
    if name != "next":
        return explanation.output.text
    return "".join(token or "" for token in explanation.output.tokens)


# --- the beam -----------------------------------------------------------------------------------------


def path(explanation: Trace, node: int | None) -> Iterator[str | None]:
    assert explanation.beam is not None
    while node is not None and explanation.beam.nodes[node].parent is not None:
        yield explanation.beam.nodes[node].token
        node = explanation.beam.nodes[node].parent


@pytest.mark.parametrize("name", SPEAKERS)
def test_finished_prefixes_are_the_outputs(name: str) -> None:
    explanation, model = trace(name), made(name)
    assert explanation.beam is not None
    width = explanation.beam.width
    (best,) = model.predict([CASES[name].content], n_best=width)
    read = best.source_tokens if name == "next" else []
    finished = [node for node in explanation.beam.nodes if node.rank is not None]
    finished.sort(key=lambda node: node.rank or 0)
    assert [[*read, *list(path(explanation, node.id))[::-1]] for node in finished] == [
        [*item.tokens, None] for item in best.n_best
    ]
    assert [node.log_prob for node in finished] == pytest.approx([item.score for item in best.n_best], abs=1e-5)
    for node in finished:
        length = len(list(path(explanation, node.id)))
        assert node.rank_score == pytest.approx(node.log_prob / length**explanation.beam.length_penalty, abs=1e-5)


@pytest.mark.parametrize("name", SPEAKERS)
def test_a_tree_grows_from_what_was_kept(name: str) -> None:
    tree = trace(name).beam
    assert tree is not None
    depth = {0: 0}
    kept: dict[int, int] = {}
    for place, node in enumerate(tree.nodes):
        assert node.id == place
        if node.parent is None:
            assert place == 0
            continue
        parent = tree.nodes[node.parent]
        assert parent.id < place
        assert parent.status == "kept"
        assert node.log_prob <= parent.log_prob + 1e-6
        assert node.status == "finished" or node.rank is None
        assert (node.token is not None) or node.status in ("finished", "pruned")
        depth[place] = depth[parent.id] + 1
        kept[depth[place]] = kept.get(depth[place], 0) + (node.status == "kept")
    assert max(kept.values()) <= tree.width
    for level in kept:  # what was kept is better than what was pruned, unless that is an end
        here = [node for node in tree.nodes if depth[node.id] == level and node.token is not None]
        best = max((node.log_prob for node in here if node.status == "pruned"), default=-np.inf)
        assert all(node.log_prob >= best for node in here if node.status == "kept")


# --- states and gates ---------------------------------------------------------------------------------


def values(layer: Layer, name: str) -> np.ndarray[Any, Any]:
    return np.asarray(layer.series[name])


def layers(explanation: Trace) -> list[Layer]:
    return [*(explanation.encoder or []), *(explanation.output.layers or [])]


@pytest.mark.parametrize("name", RECURRENT)
def test_gates_recombine_to_the_states(name: str) -> None:
    all_layers = layers(trace(name))
    assert all_layers
    for layer in all_layers:
        turn = slice(None, None, -1) if layer.direction == "backward" else slice(None)
        after = values(layer, "state")[turn]
        before = np.concatenate([[layer.start["state"]], after[:-1]])
        assert len(after) == len(layer.tokens)
        if layer.cell == "gru":
            gates = {gate: values(layer, gate)[turn] for gate in ("reset", "update", "candidate")}
            expected = (1 - gates["update"]) * gates["candidate"] + gates["update"] * before
        elif layer.cell == "lstm":
            gates = {gate: values(layer, gate)[turn] for gate in ("input", "forget", "output", "candidate")}
            cells = values(layer, "cell")[turn]
            earlier = np.concatenate([[layer.start["cell"]], cells[:-1]])
            made_cells = gates["forget"] * earlier + gates["input"] * gates["candidate"]
            np.testing.assert_allclose(cells, made_cells, atol=1e-5)
            expected = gates["output"] * np.tanh(cells)
        elif layer.cell == "mingru":
            gates = {gate: values(layer, gate)[turn] for gate in ("input", "candidate")}
            expected = (1 - gates["input"]) * before + gates["input"] * gates["candidate"]
        elif layer.cell == "minlstm":
            gates = {gate: values(layer, gate)[turn] for gate in ("forget", "input", "candidate")}
            both = gates["forget"] + gates["input"]
            expected = (gates["forget"] * before + gates["input"] * gates["candidate"]) / both
        else:
            assert set(layer.series) == ({"state", "keep"} if layer.cell == "selective" else {"state"})
            continue
        np.testing.assert_allclose(after, expected, atol=1e-5)
        for gate, found_values in gates.items():
            assert gate == "candidate" or (found_values <= 1).all()
            assert gate == "candidate" or (found_values >= 0).all()


def logistic(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


ACTIVATIONS: dict[str, Any] = {
    "input": logistic, "forget": logistic, "output": logistic, "reset": logistic, "update": logistic,
    "candidate": np.tanh,
}  # fmt: skip


@pytest.mark.parametrize("name", [*RECURRENT, *VARIED])
def test_every_gate_is_that_of_its_sums(name: str) -> None:
    for layer in layers(trace(name)):
        new, old = (
            {block: np.asarray(grid) for block, grid in part.items()} for part in (layer.from_input, layer.from_state)
        )
        linear = layer.cell in ("mingru", "minlstm", "selective")  # no sum of theirs has a share of the state
        blocks = set() if linear else set(layer.series) - {"state", "cell"} or {"state"}
        assert new.keys() == old.keys() == blocks
        assert (layer.zoneout, layer.layer_norm) == ((0.2, True) if name in VARIED else (0, False))
        for block in new.keys() - {"state"}:
            shown = values(layer, "reset") if layer.cell == "gru" and block == "candidate" else 1
            expected = ACTIVATIONS[block](new[block] + shown * old[block])
            np.testing.assert_allclose(values(layer, block), expected, atol=1e-5)
        if "state" in new:
            turn = slice(None, None, -1) if layer.direction == "backward" else slice(None)
            total = (new["state"] + old["state"])[turn]
            made_states = np.maximum(total, 0) if layer.cell == "rnn_relu" else np.tanh(total)
            after = values(layer, "state")[turn]
            before = np.concatenate([[layer.start["state"]], after[:-1]])
            expected = layer.zoneout * before + (1 - layer.zoneout) * made_states
            np.testing.assert_allclose(after, expected, atol=2e-5)


@pytest.mark.parametrize("name", list(CASES))
def test_observed_states_are_those_of_the_fused_path(name: str) -> None:
    """The states that the model's own pass over all steps has, whatever way it takes, cell by cell."""
    model, case, explanation = made(name), CASES[name], trace(name)
    seen: dict[str, np.ndarray[Any, Any]] = {}
    hooks = [
        cell.register_forward_hook(lambda cell, given, out, label=label: seen.update({label: out[0][0].numpy()}))
        for label, cell in model.model.named_modules()
        if isinstance(cell, Cell) and not label.startswith("source.")
    ]
    try:
        if isinstance(model.model, Writer):
            assert case.reference is not None
            score(name, case.reference)
            runs = (
                [*(explanation.encoder or []), *(explanation.reference.layers or [])] if explanation.reference else []
            )
        elif isinstance(model.model, LanguageModel):
            model.score([Row((explanation.output.text,), "", "t", 1)])
            runs = explanation.encoder or []
        else:
            model.predict([case.content])
            runs = explanation.encoder or []
    finally:
        for hook in hooks:
            hook.remove()
    stacks = {"forward": "forward_cells", "backward": "backward_cells"}
    compared = 0
    for layer in runs:
        prefix = "decoder.cells" if layer.part == "decoder" else f"encoder.{stacks[layer.direction]}"
        own = seen.get(f"{prefix}.{layer.depth}")
        if own is None:  # a decoder whose steps need the one before has no call for all of them
            assert layer.part == "decoder"
            continue
        own = own[::-1] if layer.direction == "backward" else own
        np.testing.assert_allclose(values(layer, "state"), own, atol=1e-5)
        compared += 1
    assert compared or not explanation.encoder


def test_an_observed_model_shares_its_parameters_and_leaves_the_model_as_it_was() -> None:
    model = made("lstm, general").model
    assert isinstance(model, Writer)
    observed = Observed(model)
    pairs = list(zip(model.parameters(), observed.model.parameters(), strict=True))
    assert all(item is other for item, other in pairs)
    assert all(
        cell.fused is not None and "advance" not in vars(cell) for cell in model.modules() if isinstance(cell, Cell)
    )


# --- what if ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPEAKERS)
def test_a_forced_continuation_is_predict_with_that_prefix(name: str) -> None:
    model, given = made(name), CASES[name].content
    codec = model.codecs.sources[0] if name == "next" else model.codecs.target
    assert isinstance(codec, TextCodec)
    output = trace(name).output.tokens[:-1]
    token = codec.vocabulary.symbols[-1]
    known = [
        all((symbol or "") in codec.vocabulary for symbol in output[:step]) for step in range(7)
    ]  # not only in the source
    steps = [step for step in (0, 1, len(output)) if step < 6 and known[step]]
    continuations = model.explain(given, force=[(step, token) for step in steps]).forced
    assert continuations is not None
    for step, forced in zip(steps, continuations, strict=True):
        prefix = codec.join([*(symbol or "" for symbol in output[:step]), token])
        (expected,) = model.predict([given], prefix=prefix)
        assert (forced.step, forced.token) == (step, token)
        assert forced.run.text == expected.text
        assert forced.run.score == pytest.approx(expected.score, abs=1e-5)
        check_run(forced.run)


@pytest.mark.parametrize("name", SPEAKERS)
def test_a_run_that_begins_with_symbols_is_the_forced_one(name: str) -> None:
    model, given = made(name), CASES[name].content
    output = trace(name).output.tokens[:-1]
    codec = model.codecs.sources[0] if name == "next" else model.codecs.target
    assert isinstance(codec, TextCodec)
    token = codec.vocabulary.symbols[-1]
    (forced,) = model.explain(given, force=[(len(output) // 2, token)]).forced or []
    explanation = model.explain(given, begin=[*output[: len(output) // 2], token])
    assert explanation.output.tokens == forced.run.tokens
    assert explanation.output.score == pytest.approx(forced.run.score, abs=1e-5)
    assert model.explain(given, begin=[*output, None]).output.tokens == [*output, None]


def test_the_end_can_be_forced() -> None:
    continuations = made("lstm, general").explain("acb", force=[(1, None)]).forced
    assert continuations is not None
    output = trace("lstm, general").output
    assert [item.run.tokens for item in continuations] == [[output.tokens[0], None]]
    assert continuations[0].run.steps[0].log_prob == output.steps[0].log_prob


@pytest.mark.parametrize("name", WRITERS)
def test_ablation_with_the_own_context_changes_nothing_and_zero_is_zero(name: str) -> None:
    model, case = made(name), CASES[name]
    same = model.explain(case.content, case.reference, other=case.content).ablation
    assert same is not None
    zero, own = same
    explanation = trace(name)
    assert explanation.reference is not None
    assert (zero.context, own.context) == ("zero", "other")
    assert own.run.text == explanation.output.text
    assert own.output_score == pytest.approx(explanation.output.score, abs=1e-5)
    assert own.reference_score == pytest.approx(explanation.reference.score, abs=1e-5)
    assert isinstance(model.model, Writer)
    bridge, kept = model.model.bridge, model.model.bridge.context
    try:
        bridge.context = lambda encoded: torch.zeros_like(kept(encoded))  # type: ignore[method-assign]
        (expected,) = model.predict([case.content])
        assert zero.run.text == expected.text
        assert zero.run.score == pytest.approx(expected.score, abs=1e-5)
        assert zero.reference_score == pytest.approx(score(name, case.reference), abs=1e-5)
    finally:
        del bridge.context


def test_another_inputs_context_is_used() -> None:
    model, case = made("category"), CASES["category"]  # without attention C is all there is
    ablation = model.explain(case.content, case.reference, other=case.other).ablation
    assert ablation is not None
    others = model.explain(case.other, case.reference)
    assert others.reference is not None
    assert ablation[1].other == case.other
    assert ablation[1].run.text == others.output.text
    assert ablation[1].reference_score == pytest.approx(others.reference.score, abs=1e-5)


@pytest.mark.parametrize("name", ["label", "label of two", "number"])
def test_the_last_belief_is_the_answer_and_others_are_those_to_the_beginnings(name: str) -> None:
    model, case, explanation = made(name), CASES[name], trace(name)
    assert explanation.beliefs is not None
    first = case.content[0] if isinstance(case.content, tuple) else case.content
    assert len(explanation.beliefs) == len(first)
    assert explanation.beliefs[-1] == explanation.output.steps[0]
    for length, belief in enumerate(explanation.beliefs, 1):
        given = (first[:length], *case.content[1:]) if isinstance(case.content, tuple) else first[:length]
        assert model.explain(given).output.steps == [belief]


# --- attribution --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(CASES))
def test_attribution_is_the_slope_along_each_tokens_vector(name: str) -> None:
    """Each token's vector is made a little longer and a little shorter: finite differences, in float64."""
    model, case, explanation = made(name), CASES[name], trace(name)
    assert explanation.attribution is not None
    steps, small = len(explanation.output.steps), 1e-5
    parts = [model.model.source, *(other.source for other in getattr(model.model, "others", []))]
    lm = isinstance(model.model, LanguageModel)
    if lm:
        parts = [model.model.source.embedding]  # type: ignore[union-attr]
    model.model.double()
    try:
        for part, attribution in zip(parts, explanation.attribution, strict=True):
            assert np.shape(attribution.values) == (steps, len(attribution.tokens))
            for place in range(len(attribution.tokens)):
                slopes = np.zeros(steps)
                for sign in (1, -1):
                    slopes += sign * _output_log_probs(model, case, explanation, part, place, sign * small)
                np.testing.assert_allclose(np.asarray(attribution.values)[:, place], slopes / (2 * small), atol=2e-5)
    finally:
        model.model.float()


@pytest.mark.parametrize("name", list(CASES))
def test_where_the_output_depends_on_a_token_its_gradient_has_a_norm(name: str) -> None:
    attribution_parts = trace(name).attribution or []
    assert attribution_parts
    for attribution in attribution_parts:
        norms, products = np.asarray(attribution.norms), np.asarray(attribution.values)
        assert norms.shape == products.shape
        assert (norms >= 0).all()
        assert (norms[np.abs(products) > 1e-5] > 0).all()


def test_the_gradient_of_a_product_is_its_weight() -> None:
    torch.manual_seed(0)
    weight = torch.randn(4, 3)
    vectors = torch.randn(1, 4, 3)

    def output(copies: list[Any], rows: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = (rows + 1) * (copies[0][0] * weight).sum((1, 2))
        return values

    ((products, norms),) = input_x_gradient([(vectors, torch.tensor([4]))], 2, output)
    expected = torch.stack([weight.norm(dim=1) * factor for factor in (1, 2)])
    np.testing.assert_allclose(norms, expected, atol=1e-5)
    np.testing.assert_allclose(products[1], 2 * (weight * vectors[0]).sum(1), atol=1e-5)


@pytest.mark.parametrize("name", ["two sources", "label", "tags, crf", "next"])
def test_attribution_in_pieces_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "TOKENS", 1)  # a step at a time
    attributions = made(name).explain(CASES[name].content).attribution
    assert attributions is not None
    for item, other in zip(attributions, trace(name).attribution or [], strict=True):
        np.testing.assert_allclose(item.values, other.values, atol=1e-5)


def _output_log_probs(
    model: Predictor, case: Case, explanation: Trace, part: torch.nn.Module, place: int, by: float
) -> np.ndarray[Any, Any]:
    """log p of each step of the output (of numbers: their sum), with one vector of a source longer by a share."""
    from antiphon.data.batches import pad

    def longer(_: object, __: object, out: Any) -> Any:
        vectors = (out[0] if isinstance(out, tuple) else out).clone()
        vectors[:, place] *= 1 + by
        return (vectors, out[1]) if isinstance(out, tuple) else vectors

    held = read_input(model._loaded, case.content, "input")
    sources = [pad(source, [0]) for source in held.sources]
    sources = [
        item._replace(values=item.values.double() if item.values.is_floating_point() else item.values)
        for item in sources
    ]
    hook = part.register_forward_hook(longer)
    own: Any = model.model
    try:
        with torch.no_grad():
            if explanation.beam is not None:
                codec = model.codecs.sources[0] if own.goes_on else model.codecs.target
                copying = model._loaded.copying
                id_of = (lambda token: copying.id_of(token, held.values)) if copying else codec.vocabulary.id  # type: ignore[attr-defined]
                ids = [2 if token is None else id_of(token) for token in explanation.output.tokens]
                prompt = held.arrays[0] if own.goes_on else []
                target = torch.tensor([[*prompt, *ids]])
                given = [(target, torch.tensor([target.shape[1]]))] if own.goes_on else sources
                log_probs = own.head.log_probs(own(given, target))[0, len(prompt) :]
                return log_probs[torch.arange(len(ids)), torch.tensor(ids)].numpy()  # type: ignore[no-any-return]
            if isinstance(own, SeriesWriter):  # in the scale of the row
                values = np.asarray([step.values for step in explanation.output.steps], np.float32)
                codec = model.codecs.target
                scaled = torch.from_numpy((values - codec.mean) / codec.deviation)[None].double()  # type: ignore[attr-defined]
                readout = own(sources, scaled).readout
                return own.head.likelihood.center(own.head.parameters_of(readout))[0].sum(-1)[: len(values)].numpy()
            features = own.features(sources)[:, : len(explanation.output.steps)]
            answer = own.head.answer(features, torch.arange(features.shape[1]))[1]
            if isinstance(model.codecs.target, LabelCodec):
                label_ids = [model.codecs.target.vocabulary.id(token or "") for token in explanation.output.tokens]
                return answer[torch.arange(len(label_ids)), torch.tensor(label_ids)].numpy()  # type: ignore[no-any-return]
            return answer.sum(-1).numpy()  # type: ignore[no-any-return]
    finally:
        hook.remove()


# --- the value ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(CASES))
def test_a_trace_survives_json(name: str) -> None:
    explanation = trace(name)
    written = json.dumps(explanation.to_json(), ensure_ascii=False, allow_nan=False)
    assert Trace.model_validate_json(written) == explanation
    assert "null" not in {key for key, value in explanation.to_json().items() if value is None}


PARTS = {
    "lstm, general": {"encoder", "context", "beam", "ablation", "attribution"},
    "gru, every step": {"encoder", "pooling", "context", "beam", "ablation", "attribution"},
    "image": {"context", "beam", "ablation", "attribution"},
    "category": {"context", "beam", "ablation", "attribution"},
    "label": {"encoder", "pooling", "beliefs", "attribution"},
    "one to one": {"attribution"},
    "tags": {"encoder", "attribution"},
    "next": {"encoder", "prompt", "beam", "attribution"},
}


@pytest.mark.parametrize("name", list(PARTS))
def test_a_part_without_a_meaning_is_absent(name: str) -> None:
    explanation = made(name).explain(CASES[name].content).to_json()
    assert set(explanation) - {"format", "structure", "sources", "output"} == PARTS[name]


def test_sources_are_told_token_by_token() -> None:
    turns = trace("dialogue").sources[0]
    assert turns.tokens == ["a", None, "b", "c", None]
    words = trace("spelled words").sources[0]
    assert (words.tokens, words.unknown) == (["a", "zz", "c", None], [1])
    picture = trace("image").sources[0]
    assert picture.grid is not None
    assert len(picture.tokens) == picture.grid[0] * picture.grid[1] > 1
    assert picture.tokens[1] == "1,2"
    assert [source.tokens for source in trace("two sources").sources] == [["a", "c", "b", None], ["v"]]


@pytest.mark.parametrize(
    ("name", "given", "options", "message"),
    [
        ("lstm, general", "", {}, "input: is empty"),
        ("lstm, general", "a" * 501, {}, "input: has 501 tokens; data.max_length of this model is 500"),
        ("lstm, general", "a", {"reference": " "}, "input: the reference is empty"),
        ("lstm, general", "a", {"force": [(0, "Q")]}, "force: 'Q' is not in the vocabulary"),
        ("lstm, general", "a", {"force": [(9, "A")]}, "force: there is no step 10: the output has"),
        ("lstm, general", "a", {"top": 0}, "top: must be at least 1"),
        ("label", "a", {"reference": "Q"}, "input: the reference has a label that no training row has: 'Q'"),
        ("label", "a", {"force": [(0, "A")]}, "force: is for a model that writes"),
        ("label", "a", {"other": "b"}, "other: is for a model that has a context C"),
        ("label", "a", {"begin": ["A"]}, "begin: is for a model that writes"),
        ("lstm, general", "a", {"begin": ["Q"]}, "begin: 'Q' is not in the vocabulary"),
        (
            "lstm, general",
            "a",
            {"begin": [None, "A"]},
            "begin: has symbols after the end symbol, which must be the last",
        ),
        ("lstm, general", "a", {"begin": ["A"] * 7}, "begin: has 7 tokens, but decode.max_length is 6"),
        ("next", "a", {"other": "b"}, "other: is for a model that has a context C"),
        ("tags", "ab", {"reference": "U"}, "input: the reference has 1 labels for 2 tokens of the input"),
    ],
)
def test_what_cannot_be_explained_is_refused(name: str, given: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, DataError, ModelFolderError)) as error:
        made(name).explain(given, **options)
    assert str(error.value).startswith(message)
