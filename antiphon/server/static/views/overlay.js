// A picture once for each symbol that was written, with light where the model looked, or what the symbol depends on.

import { html, useMemo } from "../vendor/htm-preact.js";
import { cut, heat, largest, percent, spelled } from "../drawing.js";
import { Choice, cursor, gridTable, Picture, usePage } from "../picture.js";

const SIDE = 104; // pixels of a picture, on its longer side
const ACROSS = 6;
const [GAP, HEAD] = [10, 20];
const LIGHT = { above: [255, 140, 0], below: [33, 102, 172] }; // seen on black and on white

function weights(trace, by) {
  return by === "attribution" || !trace.output.attention ? trace.attribution[0].values : trace.output.attention;
}

const folded = (row, [, columns]) => Array.from({ length: row.length / columns }, (_, place) => row.slice(place * columns, (place + 1) * columns));
/** A light for each symbol. What every place has, as attention that is spread out, is not shown. */
function lit(values, grid, theme) {
  const least = Math.max(0, Math.min(...values.flat()));
  const most = largest(values) - least;
  return values.map((row) => heat(folded(row.map((value) => value - least), grid), most || 1, theme, LIGHT));
}

const named = (trace) => trace.output.steps.map((step, place) => (step.values ? String(place + 1) : spelled(step.token)));

function Body({ trace }) {
  const { t, at, select, state, change, theme, card } = usePage();
  const [high, wide] = card.sources[0].pixels ?? [1, 1];
  const [height, width] = [high, wide].map((side) => (SIDE * side) / Math.max(high, wide));
  const [{ picture, grid, tokens }] = trace.sources;
  const values = weights(trace, state.by);
  const words = named(trace);
  const lights = useMemo(() => lit(values, grid, theme), [values, theme]);
  const across = Math.min(ACROSS, words.length);
  const rows = Math.ceil(words.length / across);
  const place = (step) => [(step % across) * (SIDE + GAP), Math.floor(step / across) * (SIDE + GAP + HEAD)];
  const onAt = (row, column) => row * across + column < words.length && select({ step: row * across + column });
  const { onMove, onPlace } = cursor({
    rows, columns: across, onAt, at: at.step === undefined ? undefined : [Math.floor(at.step / across), at.step % across],
    cellAt: (x, y) => [Math.floor(y / (SIDE + GAP + HEAD)), Math.floor(x / (SIDE + GAP))],
  });
  const best = values[at.step] && values[at.step].indexOf(Math.max(...values[at.step]));
  const ways = ["attention", "attribution"].filter((way) => (way === "attention" ? trace.output.attention : trace.attribution));
  return html`
    ${ways.length > 1 && html`
      <${Choice} label=${t("shown")} value=${state.by ?? "attention"} onChoose=${(by) => change({ by })}
        options=${ways.map((way) => [way, t(`${way}.title`)])} />`}
    <${Picture} label=${t("overlay.title")} width=${across * (SIDE + GAP)} height=${rows * (SIDE + GAP + HEAD)} onMove=${onMove} onPlace=${onPlace}
      caption=${best !== undefined && t("overlay.told", { said: words[at.step], place: tokens[best], share: values === trace.output.attention ? percent(values[at.step][best]) : values[at.step][best].toFixed(3) })}>
      ${words.map((word, step) => {
        const [x, y] = place(step);
        return html`
          <g transform=${`translate(${x + (SIDE + GAP - width) / 2} ${y})`}>
            <text class=${`label ${at.step === step ? "on" : ""}`} x=${width / 2} y="14" text-anchor="middle">${cut(word, 14)}</text>
            <image class="seen" href=${`data:image/png;base64,${picture}`} y=${HEAD} width=${width} height=${height} preserveAspectRatio="none" />
            <rect class="veil" y=${HEAD} width=${width} height=${height} />
            <image class="light" href=${lights[step]} y=${HEAD} width=${width} height=${height} preserveAspectRatio="none" />
            ${at.step === step && html`<rect class="frame here" y=${HEAD} width=${width} height=${height} />`}
          </g>`;
      })}
    <//>`;
}

export const overlay = {
  wide: true,
  shows: ({ sources, output, attribution }) => Boolean(sources.length === 1 && sources[0].picture && (output.attention || attribution)),
  Body,
  table: (trace, { t, state }) => gridTable(t("output"), weights(trace, state.by), named(trace), trace.sources[0].tokens),
  data: ({ sources, output, attribution }) => ({ grid: sources[0].grid, said: output.tokens, attention: output.attention, attribution }),
};
