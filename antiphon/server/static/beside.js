// A second model beside the first: the same input to both, and what differs in their outputs.

import { html } from "./vendor/htm-preact.js";
import * as api from "./api.js";
import { nats, percent, spelled } from "./drawing.js";
import { reading } from "./inputs.js";
import { Choice, Facts, Trouble, usePage } from "./picture.js";
import { optionsOf, useAnswer } from "./request.js";

const LONGEST = 400; // symbols of an output, beyond which they are compared place by place
const LABELS = 6; // of each model
const NONE = ""; // no second model

const reads = (card) => JSON.stringify(reading(card).map(({ kind, turns }) => (turns ? "turns" : kind)));

/** The models that read what this one reads. */
export const companions = (cards, card) => cards.filter((other) => other !== card && reads(other) === reads(card));

/** Choose the second model. */
export function BesideChoice({ cards, card, state, change, t }) {
  const others = companions(cards, card);
  if (!others.length) return "";
  return html`<${Choice} label=${t("beside")} value=${state.with ?? NONE} onChoose=${(name) => change({ with: name || null })}
    options=${[[NONE, t("beside.none")], ...others.map(({ name, structure }) => [name, `${name} (${structure})`])]} />`;
}

/** An output as a list of symbols, labels or numbers. */
function parts({ tokens, text, label, labels, value, values }) {
  if (tokens) return tokens;
  if (labels) return labels;
  const one = text ?? label ?? value;
  return one == null ? (values ?? []).map((numbers) => [numbers].flat().map((number) => Number(number.toPrecision(4))).join(" ")) : [typeof one === "number" ? Number(one.toPrecision(6)) : one].map(String);
}

/** Which places of two lists are not in their longest common subsequence, of each list. */
export function differences(left, right) {
  if (Math.max(left.length, right.length) > LONGEST) {
    const apart = (list, other) => new Set(list.map((_, place) => place).filter((place) => list[place] !== other[place]));
    return [apart(left, right), apart(right, left)];
  }
  const common = Array.from({ length: left.length + 1 }, () => new Array(right.length + 1).fill(0)); // of what follows two places
  for (let i = left.length - 1; i >= 0; i--)
    for (let j = right.length - 1; j >= 0; j--)
      common[i][j] = left[i] === right[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
  const apart = [new Set(left.keys()), new Set(right.keys())];
  for (let i = 0, j = 0; i < left.length && j < right.length; ) {
    if (left[i] === right[j]) apart[0].delete(i++), apart[1].delete(j++);
    else if (common[i + 1][j] >= common[i][j + 1]) i++;
    else j++;
  }
  return apart;
}

/** One model's output, with the places that differ marked. */
function Side({ card, answer, apart }) {
  const { t } = usePage();
  const symbols = parts(answer);
  const { score, confidence, probabilities } = answer;
  const labels = Array.isArray(probabilities) || !probabilities ? [] : Object.entries(probabilities).sort(([, left], [, right]) => right - left);
  return html`
    <section class="side" aria-label=${card.name}>
      <h3>${card.name} <small>${card.structure}</small></h3>
      <p class="row" dir="auto">${symbols.length ? symbols.map((symbol, place) => html`<${apart.has(place) ? "mark" : "span"} class="part" key=${place}>${spelled(symbol)}<//>`) : t("answer.empty")}</p>
      <${Facts} facts=${[
        score != null && [t("score"), nats(score)],
        score != null && [t("probability"), percent(Math.exp(score))],
        typeof confidence === "number" && [t("confidence"), percent(confidence)],
      ]} />
      ${labels.length > 0 && html`
        <table><tbody>${labels.slice(0, LABELS).map(([name, share]) => html`
          <tr><th scope="row" dir="auto">${name}</th>
            <td class="bar"><span class="gauge" aria-hidden="true"><span style=${{ width: `${100 * share}%` }}></span></span>${percent(share)}</td></tr>`)}</tbody></table>`}
    </section>`;
}

/** Both outputs; `answer` is the first model's. */
export function Beside({ cards, request, answer }) {
  const { t, card, state } = usePage();
  const other = companions(cards, card).find(({ name }) => name === state.with);
  const options = other && optionsOf(other, {});
  const key = other && request ? JSON.stringify([other.name, request.input, options]) : undefined;
  const second = useAnswer((signal) => api.predict(other.name, request.input, options, signal), key);
  if (!other || !request) return "";
  const both = answer && second.value;
  const [left, right] = both ? differences(parts(answer), parts(second.value)) : [];
  const count = both && Math.max(left.size, right.size);
  return html`
    <section class="card versus" aria-label=${t("beside.title")} aria-busy=${Boolean(second.waits)}>
      <h2>${t("beside.title")}</h2>
      ${second.problem && html`<${Trouble} t=${t} problem=${second.problem} />`}
      ${both && html`
        <p class="told" aria-live="polite">${count ? t("beside.apart", { count }) : t("beside.same")}</p>
        <div class="sides"><${Side} card=${card} answer=${answer} apart=${left} /><${Side} card=${other} answer=${second.value} apart=${right} /></div>`}
    </section>`;
}
