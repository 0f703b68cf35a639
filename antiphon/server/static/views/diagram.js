// This model unrolled over this input, with its real shapes and numbers.

import { html, useMemo } from "../vendor/htm-preact.js";
import { begun, cut, heat, probability, spelled } from "../drawing.js";
import { Picture, usePage } from "../picture.js";

const SHOWN = 12; // steps of a side; the middle of longer ones is left out
const [CELL, BOX, HIGH, GAP] = [66, 48, 30, 30]; // pixels: a step, its box across and down, between layers
const ASIDE = 8; // a backward layer stands beside the forward one, since both read what is below
const STRIPE = 10; // values across a box

/** The steps that are shown of so many: all, or the first and the last, with null between them. */
function some(count) {
  if (count <= SHOWN) return Array.from({ length: count }, (_, step) => step);
  return [...Array.from({ length: SHOWN - 3 }, (_, step) => step), null, count - 2, count - 1];
}

const shape = ({ series }) => `${series.state.length} × ${series.state[0].length}`;
const title = (layer, t) =>
  [`${layer.part} ${layer.depth + 1}`, layer.cell, shape(layer), ...(layer.direction === "backward" ? [t("states.backward")] : [])].join(" · ");

/** A vector as a small picture, some values per line. */
function Vector({ values, width, height, kind }) {
  const { theme } = usePage();
  const picture = useMemo(() => {
    const lines = Array.from({ length: Math.ceil(values.length / STRIPE) }, (_, line) =>
      Array.from({ length: STRIPE }, (_, place) => values[line * STRIPE + place] ?? 0));
    return heat(lines, 1, theme);
  }, [values, theme]);
  return html`
    <rect class="ground" width=${width} height=${height} rx="4" />
    <image href=${picture} x="3" y="3" width=${width - 6} height=${height - 6} preserveAspectRatio="none" style=${{ imageRendering: "pixelated" }} />
    <rect class=${`frame ${kind}`} width=${width} height=${height} rx="4" />`;
}

const Arrow = ({ d }) => html`<path class="branch" marker-end="url(#tip)" d=${d} />`;

const above = (y, depth) => y - (depth + 1) * (HIGH + GAP);

/** Layers over tokens, from the bottom up. */
function Stack({ x, y, layers, tokens, steps, at }) {
  const { t } = usePage();
  const aside = (layer) => (layer.direction === "backward" ? ASIDE : 0);
  return html`
    ${steps.map((step, place) => html`
      <text class=${`label ${step === at ? "on" : ""}`} x=${x + place * CELL + BOX / 2} y=${y + 4} text-anchor="middle">${step === null ? "…" : cut(tokens[step], 7)}</text>`)}
    ${layers.map((layer, row) => steps.map((step, place) => {
      if (step === null) return "";
      const [left, top] = [x + place * CELL + aside(layer), above(y, row)];
      const under = aside(layer) ? above(y, row - 1) + HIGH + GAP - 10 : top + HIGH + GAP - 10; // the same for both directions
      const stem = aside(layer) ? left + BOX - 4 : left + BOX / 2;
      const beside = layer.direction === "backward" ? `M${left + CELL} ${top + HIGH / 2}H${left + BOX + 2}` : `M${left + BOX} ${top + HIGH / 2}H${left + CELL - 2}`;
      return html`
        <${Arrow} d=${`M${stem} ${under}V${top + HIGH + 2}`} />
        ${place + 1 < steps.length && html`<${Arrow} d=${beside} />`}
        <g transform=${`translate(${left} ${top})`}><${Vector} values=${layer.series.state[step]} width=${BOX} height=${HIGH} kind=${step === at ? "here" : "said"} /></g>`;
    }))}
    ${layers.map((layer, row) => html`<text class="small faint over" x=${x + aside(layer)} y=${above(y, row) - 7}>${title(layer, t)}</text>`)}`;
}

/** What each part is called, its kind, and its shape. */
function parts(trace, { t, card }) {
  const count = (steps, symbols) => (symbols ? `${steps} ${t("diagram.of", { count: symbols })}` : String(steps));
  const layers = (list) => (list ?? []).map((layer) => [`${layer.part} ${layer.depth + 1}, ${t(`states.${layer.direction}`)}`, layer.cell, shape(layer)]);
  const looked = trace.output.attention;
  return [
    ...trace.sources.map(({ name, kind, tokens }, place) => [name, kind, count(tokens.length, card.sources[place]?.symbols)]),
    ...layers(trace.encoder),
    ...(trace.context ? [["C", t("diagram.context"), String(trace.context.length)]] : []),
    ...(looked ? [[t("attention"), "a", `${looked.length} × ${looked[0].length}`]] : []),
    ...layers(trace.output.layers),
    [t("output"), card.target.kind, count(trace.output.steps.length, card.target.symbols)],
  ];
}

/** Places along a side, and the step of the output that stands there. */
function answered({ output, prompt, sources }, steps, outputSteps) {
  const shown = ([, step]) => step !== null && step >= 0;
  if (prompt) return steps.map((step, place) => [place, step === null ? null : step - sources[0].tokens.length]).filter(shown);
  if (output.steps.length === 1 && !output.layers) return [[(steps.length - 1) / 2, 0]]; // for all that was read
  return outputSteps.map((step, place) => [place, step]).filter(shown);
}

const answer = ({ token, values }) => (values ? values[0].toFixed(2) : cut(spelled(token), 8));

function Body({ trace }) {
  const page = usePage();
  const { t, at } = page;
  const encoder = (trace.encoder ?? []).filter(({ part }) => part === "encoder");
  const decoder = trace.output.layers ?? [];
  const read = encoder.length ? (trace.prompt ? begun(encoder[0].tokens) : encoder[0].tokens.map(spelled)) : trace.sources.map(({ name }) => name);
  const [steps, outputSteps] = [some(read.length), some(trace.output.steps.length)];
  const speaks = decoder.length > 0; // the predictions of a reader stand over what it has read
  const answers = answered(trace, steps, outputSteps);
  const left = 10;
  const middle = left + steps.length * CELL + 22;
  const right = trace.context ? middle + 112 : left;
  const base = Math.max(encoder.length * (HIGH + GAP) + (speaks ? 24 + 40 * Boolean(trace.output.attention) : 56), decoder.length * (HIGH + GAP) + 56, 110);
  const width = Math.max(left + steps.length * CELL, right + (speaks ? outputSteps.length : 1) * CELL) + 40;
  const top = above(base, (speaks ? decoder.length : encoder.length) - 1);
  const looked = trace.output.attention?.[at.step];
  const column = outputSteps.indexOf(at.step);
  return html`
    <${Picture} label=${t("diagram.title")} width=${width} height=${base + 14}>
      <defs><marker id="tip" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="6" markerHeight="6" orient="auto"><path class="tip" d="M0 0L6 3L0 6Z" /></marker></defs>
      <${Stack} x=${left} y=${base} layers=${encoder} tokens=${read} steps=${steps} at=${at.token} />
      ${looked && encoder.length > 0 && column >= 0 && steps.map((step, place) => {
        const [from, to, high] = [left + place * CELL + BOX / 2, right + column * CELL + BOX / 2, above(base, encoder.length - 1)];
        return step !== null && looked[step] > 0.01 && html`
          <path class="looked" style=${{ strokeOpacity: looked[step], strokeWidth: 1 + 3 * looked[step] }}
            d=${`M${from} ${high - 4}C${from} ${high - 60} ${to} ${high - 60} ${to} ${above(base, decoder.length - 1) - 2}`} />`;
      })}
      ${trace.context && html`
        <${Arrow} d=${`M${middle - 26} ${above(base, 0) + HIGH / 2}H${middle - 3}`} />
        <${Arrow} d=${`M${middle + 78} ${above(base, 0) + HIGH / 2}H${right - 3}`} />
        <text class="small faint" x=${middle} y=${above(base, 0) - 15}>C · ${trace.context.length}</text>
        <g transform=${`translate(${middle} ${above(base, 0) - 8})`}><${Vector} values=${trace.context} width=${76} height=${46} kind="wanted" /></g>`}
      ${speaks && html`<${Stack} x=${right} y=${base} layers=${decoder} tokens=${begun(decoder[0].tokens)} steps=${outputSteps} at=${at.step} />`}
      ${answers.map(([place, step]) => {
        const x = right + place * CELL + BOX / 2;
        const outputStep = trace.output.steps[step];
        return html`
          <${Arrow} d=${`M${x} ${top - (speaks || encoder.length ? 2 : -40)}V${top - 22}`} />
          <text class=${`word ${step === at.step ? "best" : ""}`} x=${x} y=${top - 41} text-anchor="middle">${answer(outputStep)}</text>
          ${outputStep.log_prob != null && html`<text class="small faint" x=${x} y=${top - 27} text-anchor="middle">${probability(outputStep.log_prob)}</text>`}`;
      })}
    <//>
    <dl class="shapes">${parts(trace, page).map(([name, kind, size]) => html`<dt>${name} <small>${kind}</small></dt><dd>${size}</dd>`)}</dl>`;
}

export const diagram = {
  wide: true,
  shows: (trace) => !trace.exported, // of an exported model the layers are not seen
  Body,
  table: (trace, page) => ({ head: [page.t("diagram.part"), page.t("diagram.kind"), page.t("diagram.shape")], rows: parts(trace, page) }),
  data: ({ encoder, context, output, sources }) => ({ sources, encoder, context, output }),
};
