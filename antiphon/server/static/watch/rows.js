// Validation rows: the reference, and what the model predicts now, or predicted at an earlier validation.

import { html, useMemo, useState } from "../vendor/htm-preact.js";
import { percent, spelled } from "../drawing.js";
import { Heat, usePage } from "../picture.js";

const [WIDTH, HEIGHT] = [320, 96]; // of a picture of numbers

/** The places of `written` that do not stand in `expected` in the same order (longest common subsequence). */
export function wrong(written, expected) {
  const common = Array.from({ length: written.length + 1 }, () => Array(expected.length + 1).fill(0));
  for (let i = written.length - 1; i >= 0; i -= 1)
    for (let j = expected.length - 1; j >= 0; j -= 1)
      common[i][j] = written[i] === expected[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
  const places = new Set();
  for (let [i, j] = [0, 0]; i < written.length; )
    if (j < expected.length && written[i] === expected[j]) [i, j] = [i + 1, j + 1];
    else if (j < expected.length && common[i][j + 1] > common[i + 1][j]) j += 1;
    else places.add(i++);
  return places;
}

/** Symbols side by side; those at the `apart` places are red and `called` so, and the fuller one is, the more probable. */
function Symbols({ symbols, apart = new Set(), called, shares }) {
  return html`
    <span class="symbols" dir="auto">${symbols.map((symbol, place) => html`
      <span class=${`symbol ${apart.has(place) ? "apart" : ""}`} title=${shares && percent(shares[place])}>
        ${shares && html`<span class="light" style=${{ opacity: 0.45 * (shares[place] ?? 0) }}></span>`}
        <bdi>${spelled(symbol)}</bdi>${apart.has(place) && html`<span class="unseen">${called}</span>`}</span>`)}</span>`;
}

/** The most probable labels of a classifier. */
const Labels = ({ labels, reference }) => html`
  <table class="labels"><tbody>${labels.map(([label, share]) => html`
    <tr class=${label === reference ? "right" : ""}><th scope="row" dir="auto">${label}</th>
      <td class="bar"><span class="gauge" aria-hidden="true"><span style=${{ width: `${100 * share}%` }}></span></span>${percent(share)}</td></tr>`)}</tbody></table>`;

/** Predicted numbers over steps, and the references dashed: of several numbers the first. */
function Numbers({ numbers, expected }) {
  const { t } = usePage();
  const lines = [numbers, expected].map((rows) => rows.map(([value]) => value));
  const [low, high] = [Math.min(...lines.flat()), Math.max(...lines.flat())];
  const point = (value, step, all) => `${4 + ((WIDTH - 8) * step) / Math.max(1, all.length - 1)},${4 + (HEIGHT - 8) * (1 - (value - low) / (high - low || 1))}`;
  return html`
    <div class="picture" role="img" tabindex="0" aria-label=${t("row.numbers")}>
      <svg width=${WIDTH} height=${HEIGHT} viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true">
        <polyline class="reference" points=${lines[1].map(point).join(" ")} /><polyline class="prediction" points=${lines[0].map(point).join(" ")} />
      </svg></div>
    <p class="hint">${t("row.numbers")}</p>`;
}

function Attention({ row }) {
  const { t } = usePage();
  const [at, setAt] = useState();
  const [rows, columns] = [row.written.map(spelled), row.read.map(spelled)];
  const here = at && row.attention[at[0]]?.[at[1]] !== undefined ? at : undefined;
  return html`
    <${Heat} label=${t("attention.title")} values=${row.attention} rows=${rows} columns=${columns} at=${here} onAt=${(...cell) => setAt(cell)}
      caption=${here && t("attention.told", { said: rows[here[0]], read: columns[here[1]], share: percent(row.attention[here[0]][here[1]]) })} />`;
}

/** Name and content of a part of a row. */
const Part = ({ name, kind, children }) => html`<div class=${kind}><dt dir="auto">${name}</dt><dd dir="auto">${children}</dd></div>`;

function Row({ row, number }) {
  const { t } = usePage();
  const { sources, references, output, right, written, expected, attention, probabilities, labels, numbers } = row;
  const [apart, missing] = useMemo(() => [wrong(written, expected), wrong(expected, written)], [row]);
  const next = right === null && !numbers;
  const several = Object.keys(sources).length > 1;
  const result = () => {
    if (labels) return html`<b>${output}</b>`;
    if (numbers) return numbers.length > 1 ? output || "…" : numbers[0]?.join(" ");
    return written.length ? html`<${Symbols} symbols=${written} apart=${apart} called=${t("row.apart")} shares=${probabilities} />` : t("answer.empty");
  };
  return html`
    <section class="card example" aria-label=${t("row", { number })} data-row=${number}>
      <dl class="parts">
        ${Object.entries(sources).map(([name, text], place) => !next && html`<${Part} key=${name} name=${several ? `${t("input")} ${place + 1}` : t("input")}>${text}<//>`)}
        ${references.length > 0 && html`<${Part} name=${t("reference")}>${expected.length ? html`<${Symbols} symbols=${expected} apart=${missing} called=${t("row.missing")} />` : references.join(" / ")}<//>`}
        <${Part} name=${next ? t("row.next") : t("output")} kind=${right === null ? "" : right ? "right" : "apart"}>
          ${next ? html`<${Symbols} symbols=${written} shares=${probabilities} />` : result()}
          ${right !== null && html` <b class="mark">${right ? `✓ ${t("row.right")}` : `✗ ${t("row.wrong")}`}</b>`}<//>
      </dl>
      ${labels && html`<${Labels} labels=${labels} reference=${references[0]} />`}
      ${numbers?.length > 1 && html`<${Numbers} numbers=${numbers} expected=${row.expected_numbers} />`}
      ${attention?.length > 0 && html`<h3>${t("attention.title")}</h3><${Attention} row=${row} />`}
    </section>`;
}

/** The rows at the last validation, or at the one that is chosen. */
export function Rows({ looks }) {
  const { t } = usePage();
  const [chosen, choose] = useState(); // its update; undefined: always the last
  const place = looks.findIndex(({ step }) => step === chosen);
  const look = looks[place] ?? looks.at(-1);
  if (!look) return html`<p class="hint">${t("rows.none")}</p>`;
  const here = place < 0 ? looks.length - 1 : place;
  const onInput = (event) => {
    const next = Number(event.currentTarget.value);
    choose(next === looks.length - 1 ? undefined : looks[next].step);
  };
  return html`
    <section class="rows" aria-label=${t("rows.title")} data-step=${look.step}>
      <header class="card">
        <h2>${t("rows.title")}</h2>
        <p class="about">${t("rows.about")}</p>
        <div class="time">
          <label for="look">${t("rows.at", { step: look.step })}</label>
          <input id="look" type="range" min="0" max=${Math.max(looks.length - 1, 0)} value=${here} disabled=${looks.length < 2}
            aria-valuetext=${t("rows.at", { step: look.step })} onInput=${onInput} />
          <button type="button" class="quiet" aria-pressed=${place < 0} onClick=${() => choose()}>${t("rows.latest")}</button>
        </div>
      </header>
      <div class="cards">${look.rows.map((row, number) => html`<${Row} key=${number} row=${row} number=${number + 1} />`)}</div>
    </section>`;
}
