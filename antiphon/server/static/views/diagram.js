// This model unrolled over this input, with its real shapes and numbers.

import { html, useMemo } from "../vendor/htm-preact.js";
import { begun, chance, cut, heat, spelled } from "../drawing.js";
import { Picture, usePage } from "../picture.js";

const SHOWN = 12; // steps of a side; the middle of longer ones is left out
const [CELL, BOX, GAP] = [66, 50, 30];
const STRIPE = 10; // values across a box

/** The steps that are shown of so many: all, or the first and the last, with null between them. */
function some(count) {
  if (count <= SHOWN) return Array.from({ length: count }, (_, step) => step);
  const head = Array.from({ length: SHOWN - 3 }, (_, step) => step);
  return [...head, null, count - 2, count - 1];
}

/** A vector folded to lines of a small picture. */
function folded(values) {
  const lines = Math.ceil(values.length / STRIPE);
  return Array.from({ length: lines }, (_, line) => Array.from({ length: STRIPE }, (_, place) => values[line * STRIPE + place] ?? 0));
}

function Box({ x, y, values, on }) {
  const { theme } = usePage();
  const picture = useMemo(() => heat(folded(values), 1, theme), [values, theme]);
  return html`
    <g transform=${`translate(${x} ${y})`}>
      <rect class="ground" width=${BOX} height="30" rx="4" />
      <image href=${picture} x="3" y="3" width=${BOX - 6} height="24" preserveAspectRatio="none" style=${{ imageRendering: "pixelated" }} />
      <rect class=${`frame ${on ? "here" : "said"}`} width=${BOX} height="30" rx="4" />
    </g>`;
}

const Arrow = ({ d }) => html`<path class="branch arrow" d=${d} />`;

/** Rows of boxes over a row of tokens, from the bottom up: a stack of layers. */
function Stack({ x, y, layers, tokens, steps, at, lines }) {
  const { t } = usePage();
  return html`
    ${steps.map((step, place) => html`
      <text class=${`label ${step === at ? "on" : ""}`} x=${x + place * CELL + BOX / 2} y=${y + 12} text-anchor="middle">${step === null ? "…" : cut(tokens[step], 7)}</text>`)}
    ${layers.map((layer, depth) => {
      const top = y - (depth + 1) * (30 + GAP) + 10;
      return html`
        <text class="small faint" x=${x} y=${top - 8}>${lines(layer)}</text>
        ${steps.map((step, place) => step !== null && html`
          <${Box} x=${x + place * CELL} y=${top} values=${layer.series.state[step]} on=${step === at} />
          <${Arrow} d=${`M${x + place * CELL + BOX / 2} ${top + 30 + (depth ? GAP - 12 : GAP - 14)}V${top + 33}`} />`)}
        ${steps.slice(1).map((_, place) => {
          const [from, to] = [x + place * CELL + BOX, x + (place + 1) * CELL];
          return html`<${Arrow} d=${layer.direction === "backward" ? `M${to} ${top + 15}H${from + 3}` : `M${from} ${top + 15}H${to - 3}`} />`;
        })}`;
    })}`;
}

function shapes(trace, { t, card }) {
  const encoder = (trace.encoder ?? []).map((layer) => [`${layer.part} ${layer.depth + 1} ${t(`states.${layer.direction}`)}`, layer.cell, `${layer.series.state.length} × ${layer.series.state[0].length}`]);
  const decoder = (trace.output.layers ?? []).map((layer) => [`decoder ${layer.depth + 1}`, layer.cell, `${layer.series.state.length} × ${layer.series.state[0].length}`]);
  return [
    ...trace.sources.map(({ name, kind, tokens }, place) => [name, kind, `${tokens.length}${card.sources[place]?.symbols ? ` ${t("diagram.of", { count: card.sources[place].symbols })}` : ""}`]),
    ...encoder,
    ...(trace.context ? [["C", t("diagram.context"), String(trace.context.length)]] : []),
    ...(trace.output.attention ? [[t("attention"), "a", `${trace.output.attention.length} × ${trace.output.attention[0].length}`]] : []),
    ...decoder,
    [t("output"), card.target.kind, `${trace.output.steps.length}${card.target.symbols ? ` ${t("diagram.of", { count: card.target.symbols })}` : ""}`],
  ];
}

function Body({ trace }) {
  const page = usePage();
  const { t, at, theme } = page;
  const encoder = (trace.encoder ?? []).filter(({ part }) => part === "encoder");
  const decoder = trace.output.layers ?? [];
  const line = (layer) => `${layer.part} ${layer.depth + 1} · ${layer.cell} · ${layer.series.state.length} × ${layer.series.state[0].length}${layer.direction === "backward" ? ` · ${t("states.backward")}` : ""}`;
  const read = encoder.length ? (trace.prompt ? begun(encoder[0].tokens) : encoder[0].tokens.map(spelled)) : trace.sources.flatMap(({ tokens, kind }) => (tokens.length && tokens.length < 3 ? tokens.map(spelled) : [kind]));
  const steps = some(encoder.length ? read.length : Math.min(read.length, 3));
  const said = trace.output.steps;
  const spoken = some(said.length);
  const high = Math.max(encoder.length, decoder.length, 1) * (30 + GAP);
  const base = high + 66;
  const left = 10;
  const middle = left + Math.max(steps.length, 1) * CELL + 20;
  const right = trace.context ? middle + 110 : decoder.length ? middle : left;
  const own = decoder.length > 0; // a reader's answers stand over what it has read
  const context = useMemo(() => trace.context && heat(folded(trace.context), 1, theme), [trace, theme]);
  const width = Math.max(own ? right + spoken.length * CELL : 0, left + steps.length * CELL, own ? 0 : left + spoken.length * CELL) + 60;
  const answers = own ? spoken : trace.prompt ? [] : spoken;
  return html`
    <${Picture} label=${t("diagram.title")} width=${width} height=${base + 20}>
      <${Stack} x=${left} y=${base} layers=${encoder} tokens=${read} steps=${steps} at=${at.token} lines=${line} />
      ${!encoder.length && steps.map((_, place) => html`<rect class="frame said" x=${left + place * CELL} y=${base - 6} width=${BOX} height="26" rx="4" />`)}
      ${context && html`
        <g transform=${`translate(${middle} ${base - 62})`}>
          <text class="small faint" y="-8">C · ${trace.context.length}</text>
          <rect class="ground" width="76" height="46" rx="4" />
          <image href=${context} x="3" y="3" width="70" height="40" preserveAspectRatio="none" style=${{ imageRendering: "pixelated" }} />
          <rect class="frame wanted" width="76" height="46" rx="4" />
        </g>
        <${Arrow} d=${`M${middle - 20} ${base - 38}H${middle - 4}`} />
        <${Arrow} d=${`M${middle + 78} ${base - 38}H${right - 4}`} />`}
      ${own && html`<${Stack} x=${right} y=${base} layers=${decoder} tokens=${begun(decoder[0].tokens)} steps=${spoken} at=${at.step} lines=${line} />`}
      ${answers.map((step, place) => {
        const x = (own ? right : left) + place * CELL + BOX / 2;
        const y = base - (own ? decoder.length : Math.max(encoder.length, 0)) * (30 + GAP);
        if (step === null) return "";
        const text = said[step].values ? said[step].values[0].toFixed(2) : cut(spelled(said[step].token), 8);
        return html`
          <${Arrow} d=${`M${x} ${y + 8}V${y - 8}`} />
          <text class=${`word ${step === at.step ? "best" : ""}`} x=${x} y=${y - 26} text-anchor="middle">${text}</text>
          ${said[step].log_prob != null && html`<text class="small faint" x=${x} y=${y - 13} text-anchor="middle">${chance(said[step].log_prob)}</text>`}`;
      })}
    <//>
    <dl class="facts shapes">${shapes(trace, page).map(([name, kind, shape]) => html`<dt>${name} <small>${kind}</small></dt><dd>${shape}</dd>`)}</dl>`;
}

export const diagram = {
  wide: true,
  shows: () => true,
  Body,
  table: (trace, page) => ({ head: [page.t("diagram.part"), page.t("diagram.kind"), page.t("diagram.shape")], rows: shapes(trace, page) }),
  data: ({ encoder, context, output, sources }) => ({ sources, encoder, context, output }),
};
