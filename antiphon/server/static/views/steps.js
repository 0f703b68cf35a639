// The most probable symbols of each step as bars; from another symbol the model goes on, in a branch.

import { html, useState } from "../vendor/htm-preact.js";
import { cut, nats, probability, spelled, widest, writesSymbols } from "../drawing.js";
import { cursor, Picture, usePage } from "../picture.js";

const HIGH = 26;
const SYMBOL = 12; // characters that are shown

/** A run's steps below each other; `onBranch(step, token)` is called for a symbol that is chosen. */
function Bars({ label, run, marked, onBranch }) {
  const { t, at, select, state } = usePage();
  const ranks = Math.max(1, ...run.steps.map((step) => step.top.length));
  const rank = Math.min(Number(state.rank ?? 0), ranks - 1);
  const symbols = run.steps.flatMap((step) => [step, ...step.top]).map(({ token }) => cut(spelled(token), SYMBOL));
  const room = Math.max(24, widest(symbols, 13)) + 54;
  const [cell, left] = [room, room + 34];
  const y = (row) => 4 + row * HIGH;
  const { onMove, onPlace } = cursor({
    rows: run.steps.length, columns: ranks, at: [at.step ?? 0, rank],
    onAt: (step, column) => select({ step, rank: column }),
    cellAt: (px, py) => [Math.floor((py - 4) / HIGH), Math.max(0, Math.floor((px - left) / cell))],
  });
  const chosen = run.steps[at.step]?.top[rank];
  const branch = onBranch && chosen && chosen.token !== run.steps[at.step].token && (() => onBranch(at.step, chosen.token));
  return html`
    <div class="bars">
      <h3>${label} <small>log p = ${nats(run.score)}</small></h3>
      <${Picture} label=${label} width=${left + ranks * cell} height=${y(run.steps.length) + 4} onMove=${onMove} onPlace=${onPlace} onEnter=${branch}
        caption=${chosen && t("steps.told", { step: at.step + 1, rank: rank + 1, token: spelled(chosen.token), share: probability(chosen.log_prob) })}>
        ${marked !== undefined && html`<rect class="stripe" x="0" y=${y(marked)} width=${left + ranks * cell} height=${HIGH} rx="4" />`}
        ${run.steps.map((step, row) => html`
          <text class=${`label ${row === at.step ? "on" : ""}`} x="20" y=${y(row) + HIGH / 2} dy="0.35em" text-anchor="end">${row + 1}</text>
          <text class="word" x="30" y=${y(row) + HIGH / 2} dy="0.35em">${cut(spelled(step.token), SYMBOL)}</text>
          <text class="label" x=${left - 10} y=${y(row) + HIGH / 2} dy="0.35em" text-anchor="end">${probability(step.log_prob)}</text>
          ${step.top.map((choice, place) => html`
            <g transform=${`translate(${left + place * cell} ${y(row) + 2})`}>
              <rect class="share" width=${(cell - 6) * Math.exp(choice.log_prob)} height=${HIGH - 4} rx="3" />
              ${choice.token === step.token && html`<rect class="frame said" width=${cell - 6} height=${HIGH - 4} rx="3" />`}
              ${row === at.step && place === rank && html`<rect class="frame here" width=${cell - 6} height=${HIGH - 4} rx="3" />`}
              <text class="small" x="5" y=${HIGH / 2 - 2} dy="0.35em">${cut(spelled(choice.token), SYMBOL)}</text>
              <text class="small faint" x=${cell - 10} y=${HIGH / 2 - 2} dy="0.35em" text-anchor="end">${probability(choice.log_prob)}</text>
            </g>`)}`)}
      <//>
      ${branch && html`<button type="button" class="quiet" onClick=${branch}>${t("branch.here", { step: at.step + 1, token: spelled(chosen.token) })}</button>`}
    </div>`;
}

/** A form for symbols that are not among the most probable ones. */
function BranchAt({ run, onBranch }) {
  const { t, at } = usePage();
  const [token, setToken] = useState("");
  const step = Math.min(at.step ?? 0, run.steps.length - 1);
  const onSubmit = (event) => (event.preventDefault(), token && onBranch(step, token));
  return html`
    <form class="branch" onSubmit=${onSubmit}>
      <label>${t("branch.at", { step: step + 1 })} <input size="8" dir="auto" value=${token} onInput=${(event) => setToken(event.currentTarget.value)} /></label>
      <button type="submit" class="quiet">${t("branch.go")}</button>
    </form>`;
}

function Steps({ trace }) {
  const { t, branch } = usePage();
  const { output, reference, divergence } = trace;
  const from = (run) => (step, token) => branch([...run.tokens.slice(0, step), token]);
  return html`
    <div class="beside">
      <${Bars} label=${t("free")} run=${output} marked=${reference && divergence} onBranch=${from(output)} />
      ${reference && html`<${Bars} label=${t("teacher")} run=${reference} marked=${divergence} onBranch=${from(reference)} />`}
    </div>
    <${BranchAt} run=${output} onBranch=${from(output)} />`;
}

const topTable = (runs, { t }) => ({
  head: [t("run"), t("step.head"), t("said"), t("rank"), t("token"), t("log_prob")],
  rows: runs.flatMap(([name, run]) =>
    run.steps.flatMap((step, place) =>
      step.top.map((choice, rank) => [t(name), place + 1, spelled(step.token), rank + 1, spelled(choice.token), nats(choice.log_prob)]),
    ),
  ),
});

export const steps = {
  wide: true,
  shows: writesSymbols,
  Body: Steps,
  table: ({ output, reference }, page) => topTable([["free", output], ...(reference ? [["teacher", reference]] : [])], page),
  data: ({ output, reference }) => ({ output: output.steps, reference: reference?.steps }),
};

/** What a language model expected while it read. */
export const prompt = {
  wide: true,
  shows: ({ prompt }) => Boolean(prompt?.steps.length),
  Body: ({ trace }) => html`<${Bars} label=${usePage().t("prompt")} run=${trace.prompt} />`,
  table: ({ prompt }, page) => topTable([["prompt", prompt]], page),
  data: ({ prompt }) => prompt,
};
