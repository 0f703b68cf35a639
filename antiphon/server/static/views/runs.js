// Runs beside each other, step under step: fed with its own output and teacher-forced, and with other contexts.

import { html } from "../vendor/htm-preact.js";
import { cut, nats, probability, spelled, widest, writesSymbols } from "../drawing.js";
import { cursor, Facts, Picture, usePage } from "../picture.js";
import { Scrolls } from "../scrolling.js";

const [HIGH, GAP, TOP] = [34, 12, 24];

/** `runs` are {name, run}; what differs from the first is marked, and `marked` is a step to frame. */
function Runs({ label, runs, marked }) {
  const { t, at, select, point, state } = usePage();
  const row = Math.min(Number(state.run ?? 0), runs.length - 1);
  const steps = Math.max(...runs.map(({ run }) => run.steps.length));
  const names = runs.map(({ name }) => cut(name, 26));
  const words = runs.map(({ run }) => run.steps.map((step) => cut(spelled(step.token), 12)));
  const cell = Math.max(46, widest(words.flat(), 13) + 14);
  const left = widest(names, 12) + 14;
  const down = (place) => TOP + place * (HIGH + GAP);
  const { onMove, onPlace, inside } = cursor({
    rows: runs.length, columns: steps, at: [row, at.step ?? 0], onAt: (run, step) => select({ step, run }),
    cellAt: (x, y) => [Math.floor((y - TOP + GAP / 2) / (HIGH + GAP)), Math.floor((x - left) / cell)],
  });
  const here = runs[row]?.run.steps[at.step];
  return html`
    <${Picture} label=${label} width=${left + steps * cell + 4} height=${down(runs.length)} onMove=${onMove} onPlace=${onPlace}
      onHover=${(x, y) => point(x !== undefined && inside(x, y) ? { step: inside(x, y)[1] } : undefined)}
      focus=${at.step === undefined ? undefined : { x: left + at.step * cell, width: cell }}
      caption=${here && t("runs.told", { name: names[row], step: at.step + 1, said: spelled(here.token), share: probability(here.log_prob) })}>
      ${Array.from({ length: steps }, (_, step) => html`
        <text class=${`label ${step === at.step ? "on" : ""} ${step === marked ? "apart" : ""}`} x=${left + (step + 0.5) * cell} y="14" text-anchor="middle">${step + 1}</text>`)}
      ${marked !== undefined && html`
        <rect class="frame apart" x=${left + marked * cell - 1} y=${TOP - 5} width=${cell - 1} height=${down(runs.length) - TOP - 2} rx="5" />`}
      ${runs.map(({ run }, place) => html`
        <text class="label" x=${left - 10} y=${down(place) + HIGH / 2} dy="0.35em" text-anchor="end">${names[place]}</text>
        ${run.steps.map((step, column) => html`
          <g transform=${`translate(${left + column * cell} ${down(place)})`}>
            <rect class="ground" width=${cell - 3} height=${HIGH} rx="4" />
            <rect class="share" y=${HIGH * (1 - Math.exp(step.log_prob))} width=${cell - 3} height=${HIGH * Math.exp(step.log_prob)} rx="3" />
            <text class=${`word ${place && step.token !== runs[0].run.steps[column]?.token ? "other" : ""}`} x=${cell / 2 - 1.5} y=${HIGH / 2} dy="0.35em" text-anchor="middle">${words[place][column]}</text>
            ${column === at.step && html`<rect class="frame here" width=${cell - 3} height=${HIGH} rx="4" />`}
          </g>`)}`)}
    <//>`;
}

const runsTable = (runs, t) => ({
  head: [t("run"), t("step.head"), t("token"), t("log_prob")],
  rows: runs.flatMap(({ name, run }) => run.steps.map((step, place) => [name, place + 1, spelled(step.token), nats(step.log_prob)])),
});

// --- teacher-forced beside free-running ---------------------------------------------------------------

const compared = ({ output, reference }, t) => [
  { name: t("free"), run: output },
  ...(reference ? [{ name: t("teacher"), run: reference }] : []),
];

function Compare({ trace }) {
  const { t } = usePage();
  const { output, reference, divergence } = trace;
  return html`
    <${Runs} label=${t("compare.title")} runs=${compared(trace, t)} marked=${reference ? divergence : undefined} />
    <${Facts} facts=${[
      [t("compare.free"), nats(output.score)],
      reference && [t("compare.teacher"), nats(reference.score)],
      reference && [t("compare.divergence"), divergence === undefined ? t("compare.same") : t("step", { step: divergence + 1 }), divergence !== undefined && "apart"],
    ]} />
    ${!reference && html`<p class="hint">${t("compare.hint")}</p>`}`;
}

export const compare = {
  shows: writesSymbols,
  Body: Compare,
  table: (trace, { t }) => runsTable(compared(trace, t), t),
  data: ({ output, reference, divergence }) => ({ output: slim(output), reference: slim(reference), divergence }),
};

const slim = (run) => run && { text: run.text, score: run.score, steps: run.steps };

// --- without its context ------------------------------------------------------------------------------

const ablated = ({ output, ablation }, t) => [
  { name: t("ablation.own"), run: output },
  ...ablation.map(({ context, other, run }) => ({ name: context === "zero" ? t("ablation.zero") : t("ablation.other", { other }), run })),
];

const scores = ({ output, reference, ablation }) => [
  [output.score, reference?.score],
  ...ablation.map(({ output_score, reference_score }) => [output_score, reference_score]),
];

function Ablation({ trace }) {
  const { t } = usePage();
  const runs = ablated(trace, t);
  return html`
    <${Runs} label=${t("ablation.title")} runs=${runs} />
    <${Scrolls} class="scroll" tabindex="0" role="region" aria-label=${t("ablation.scores")}>
      <table>
        <thead><tr><th scope="col">${t("ablation.context")}</th><th scope="col">${t("ablation.output")}</th>
          ${trace.reference && html`<th scope="col">${t("ablation.reference")}</th>`}</tr></thead>
        <tbody>${scores(trace).map(([output, reference], place) => html`
          <tr><th scope="row" dir="auto">${runs[place].name}</th><td>${nats(output)}</td>${trace.reference && html`<td>${nats(reference)}</td>`}</tr>`)}</tbody>
      </table>
    <//>`;
}

export const ablation = {
  shows: ({ ablation }) => Boolean(ablation),
  Body: Ablation,
  table: (trace, { t }) => runsTable(ablated(trace, t), t),
  data: ({ ablation }) => ablation,
};
