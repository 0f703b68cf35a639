// What a model reads, and inputs that it can be tried with, from the data that it was trained on.

import { html, useMemo } from "./vendor/htm-preact.js";
import { cut, heat, largest } from "./drawing.js";
import { asParts, asTexts, reading, Thumb } from "./inputs.js";
import { usePage } from "./picture.js";
import { pictureOf } from "./shapes.js";

const LONGEST = 28; // characters of an example that a button shows

/** A sentence about what the model reads and predicts. */
export function Reads({ card }) {
  const { t } = usePage();
  const named = (side) => {
    const kind = side.turns ? "turns" : side.kind;
    return t.has(`kind.${kind}`) ? t(`kind.${kind}`, { count: side.numbers ?? side.symbols ?? "?", size: (side.pixels ?? []).toReversed().join(" × ") }) : side.kind;
  };
  const sides = reading(card).map(named);
  return html`<p class="reads">${sides.length ? t("reads", { sources: sides.join(t("and")), target: named(card.target) }) : t("nothing")}</p>`;
}

/** A value as a button shows it: a picture of a picture, and of numbers that are one; otherwise its text. */
function Value({ side, value, card, place }) {
  const { theme } = usePage();
  const shape = useMemo(() => pictureOf(side, card.examples.map((example) => asParts(card, example)[place])), [card, place]);
  if (side.kind === "image") return html`<${Thumb} content=${value} />`;
  if (side.kind === "images") return html`<${Thumb} content=${value[0]} />`;
  if (!Array.isArray(value) || side.turns) return html`<bdi>${cut([value].flat().join(" / "), LONGEST)}</bdi>`;
  const rows = shape ? shape.rows(value) : Array.isArray(value[0]) ? value[0].map((_, number) => value.map((row) => row[number])) : [value];
  return html`<img class="thumb" alt="" src=${heat(rows, largest(rows), theme)} />`;
}

/** The examples as buttons; `onChoose` gets the texts of the fields. */
export function Examples({ card, onChoose }) {
  const { t } = usePage();
  const sides = reading(card);
  if (!card.examples.length) return "";
  return html`
    <div class="examples" role="group" aria-label=${t("examples")}>
      <span>${t("examples")}</span>
      ${card.examples.map((example, place) => html`
        <button type="button" class="quiet" data-example=${place} aria-label=${t("example", { place: place + 1, text: spoken(card, sides, example) })}
          onClick=${() => onChoose(asTexts(card, example))}>
          ${sides.map((side, part) => html`<${Value} key=${part} side=${side} card=${card} place=${part} value=${asParts(card, example)[part]} />`)}
        </button>`)}
    </div>`;
}

/** An example's texts, for those who hear the page; pictures have none. */
const spoken = (card, sides, example) =>
  sides
    .map(({ kind }, part) => (kind.startsWith("image") ? [] : [asParts(card, example)[part]].flat()))
    .flat()
    .filter((text) => typeof text === "string")
    .map((text) => cut(text, 200))
    .join(" / ");
