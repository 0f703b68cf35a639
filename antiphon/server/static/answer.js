// The answer in words, the branches, and input and output token by token.

import { html } from "./vendor/htm-preact.js";
import { nats, percent, spelled, tokensRead } from "./drawing.js";
import { Facts, Trouble, usePage } from "./picture.js";
import { Scrolls } from "./scrolling.js";

const SHOWN = 300; // tokens of an input
const LONG = 120; // characters of an answer that is set small
const LABELS = 5; // labels of the answer; the view shows more

/** The answer of the server's `predict`, for every kind of target. */
export function Answer({ answer, live }) {
  const { t } = usePage();
  return html`
    <section class="card answer" aria-label=${t("answer")}>
      <h2>${t("answer")}</h2>
      <div aria-live="polite">
        ${answer && html`<${Prediction} answer=${answer} />`}
        ${live && html`<${Live} live=${live} />`}
      </div>
    </section>`;
}

function Live({ live: { text, symbols, score, waits, problem } }) {
  const { t } = usePage();
  return html`
    <p class="live" dir="auto">▸ ${text ?? symbols.join(" ")}${waits ? "▌" : ""} ${!waits && score != null && html`<small>log p = ${nats(score)}</small>`}</p>
    ${problem && html`<${Trouble} t=${t} problem=${problem} />`}`;
}

/** Why outputs stand in another order than that of log p. */
function Ranking({ candidates }) {
  const { t, card, state } = usePage();
  const sorted = candidates.every(({ score }, rank) => rank === 0 || score <= candidates[rank - 1].score);
  const penalty = Number(state.length_penalty ?? card.options.find(({ name }) => name === "length_penalty")?.default ?? 0);
  return !sorted && html`<p class="hint" data-ranking>${penalty ? t("ranking.length", { penalty }) : t("ranking.rules")}</p>`;
}

function Prediction({ answer }) {
  const { t } = usePage();
  const { text, label, labels, value, values, score, n_best: all = [], probabilities, reference, unknown } = answer;
  const words = text ?? label ?? labels?.join(" ") ?? (value === undefined ? JSON.stringify(values) : value === null ? "" : String(Number(value.toPrecision(6))));
  const long = words.length > LONG;
  // JavaScript moves names that are numbers to the front.
  const believed = Array.isArray(probabilities) || !probabilities ? [] : Object.entries(probabilities);
  const best = believed.sort(([, left], [, right]) => right - left).slice(0, LABELS);
  return html`
    <${Scrolls} tag="p" class=${`best ${long ? "long" : ""}`} dir="auto" tabindex=${long ? 0 : undefined} data-answer>${words || t("answer.empty")}<//>
    <${Facts} facts=${[
      score != null && [t("score"), nats(score)],
      score != null && [t("probability"), percent(Math.exp(score))],
      reference !== undefined && [t("score.reference"), nats(reference)],
      unknown > 0 && [t("unknown.count"), String(unknown)],
      ...best.map(([name, share]) => [name, percent(share)]),
    ]} />
    ${all.length > 1 && html`
      <${Scrolls} class="scroll" tabindex="0" role="region" aria-label=${t("n_best")}>
        <table class="n-best">
          <thead><tr><th scope="col">${t("rank")}</th><th scope="col">${t("output")}</th><th scope="col">log p</th><th scope="col">${t("probability")}</th></tr></thead>
          <tbody>${all.map((candidate, rank) => html`
            <tr><td>${rank + 1}</td><td dir="auto">${candidate.text || t("answer.empty")}</td><td>${nats(candidate.score)}</td>
              <td class="bar"><span class="gauge" aria-hidden="true"><span style=${{ width: `${100 * Math.exp(candidate.score)}%` }}></span></span>${percent(Math.exp(candidate.score))}</td></tr>`)}</tbody>
        </table>
      <//>
      <${Ranking} candidates=${all} />`}`;
}

/** The model's own output, and each branch with its prefix. */
export function Branches({ branches }) {
  const { t, state, change, undo } = usePage();
  const current = Number(state.branch ?? 0);
  const chip = (place, name) => html`
    <button type="button" aria-pressed=${place === current} data-branch=${place} dir="auto" onClick=${() => change({ branch: place || null, node: null }, true)}>${name}</button>`;
  return html`
    <nav class="branches" aria-label=${t("branches")}>
      <span>${t("branches")}</span>
      ${chip(0, t("branch.free"))}
      ${branches.map((tokens, place) => chip(place + 1, `${tokens.map(spelled).join(" ")} …`))}
      <button type="button" class="quiet" onClick=${undo}>${t("branch.undo")}</button>
    </nav>`;
}

/** How much each token that was read has to do with a step: attention, or else attribution; from 0 to 1. */
function shares(trace, step) {
  if (trace.output.attention?.[step]) return trace.output.attention[step];
  const slopes = trace.attribution?.flatMap(({ values }) => (values[step] ?? []).slice(trace.prompt ? 1 : 0).map(Math.abs)) ?? [];
  const most = Math.max(...slopes);
  return most > 0 ? slopes.map((slope) => slope / most) : [];
}

/** The tokens of input and output; a token that is chosen here is chosen in every view. */
export function Tokens({ trace }) {
  const { t, at, select, state } = usePage();
  const read = tokensRead(trace);
  const steps = trace.output.steps;
  const plain = trace.sources.length === 1 && trace.sources[0].picture; // its places are not words
  const light = at.step === undefined ? [] : shares(trace, at.step);
  const unknown = trace.sources.flatMap(({ unknown: places, tokens }) => places.map((place) => tokens[place]));
  const chip = (name, token, place, share) => html`
    <button type="button" class=${at[name] === place ? "on" : ""} aria-pressed=${at[name] === place} data-token=${`${name}-${place}`} onClick=${() => select({ [name]: place })}>
      <span class="light" style=${{ opacity: 0.55 * (share ?? 0) }}></span><bdi>${spelled(token)}</bdi></button>`;
  return html`
    <section class="card tokens" aria-label=${`${t("input")}, ${t("output")}`}>
      ${!plain && html`<h2>${t("input")}</h2>
      <${Scrolls} class="row" dir="auto">${read.slice(0, SHOWN).map((token, place) => chip("token", token, place, light[place]))}${read.length > SHOWN && "…"}<//>`}
      ${unknown.length > 0 && html`<p class="hint">${t("unknown", { tokens: unknown.map(spelled).join(" ") })}</p>`}
      ${steps[0]?.values == null && html`
        <h2>${state.branch ? t("branches") : t("output")}</h2>
        <${Scrolls} class="row" dir="auto">${steps.map((step, place) => chip("step", step.token, place, Math.exp(step.log_prob)))}<//>`}
    </section>`;
}
