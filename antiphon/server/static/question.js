// The form: an input is answered while it is typed.

import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { Examples, Reads } from "./examples.js";
import { asTarget, Fields, reading, valuesOf } from "./inputs.js";
import { Trouble } from "./picture.js";
import { FORGOTTEN, OPTIONS, optionsOf } from "./request.js";
import { parsed } from "./state.js";

const PAUSE = 250; // ms without a change, after which what is typed is answered

const keyOf = ({ input, other, reference }) => JSON.stringify([input, other, reference].map((part) => part ?? null));
const drafted = (state) => ({ input: parsed(state.input, []), other: parsed(state.other, []), reference: state.reference ?? "" });

/** A draft as the state holds it, or undefined if it cannot be read. An empty one is no input, unless it is `asked`. */
function stated(card, { input, other, reference }, asked = true) {
  const sides = reading(card);
  const compared = other.some(Boolean);
  try {
    valuesOf(sides, input);
    if (reference) asTarget(card.target, reference);
    if (compared) valuesOf(sides, other);
  } catch {
    return undefined;
  }
  return { ...FORGOTTEN, model: card.name, input: sides.length && !input.some(Boolean) && !asked ? null : JSON.stringify(input), reference: reference || null, other: compared ? JSON.stringify(other) : null };
}

/**
 * What is in the form, and ways to send it into the address: `live` after a pause, `send` at once. All that is typed
 * between two that are sent is one entry of the browser's history.
 */
function useDraft(card, state, change) {
  const [draft, setDraft] = useState(() => drafted(state));
  const [wrong, setWrong] = useState(false);
  const held = useRef(keyOf(state)); // what the address held when the draft was last put into it, or taken from it
  const typing = useRef(false); // whether the address's last entry is being typed
  const timer = useRef(0);
  const latest = useRef(state);
  latest.current = state;
  useEffect(() => {
    if (held.current === keyOf(state)) return;
    held.current = keyOf(state);
    typing.current = false;
    clearTimeout(timer.current);
    setDraft(drafted(state));
  }, [card.name, state.input, state.other, state.reference]);
  useEffect(() => () => clearTimeout(timer.current), []);

  const put = (wishes) => {
    held.current = keyOf(wishes);
    setWrong(false);
    change(wishes, !typing.current);
  };
  const send = (parts) => {
    clearTimeout(timer.current);
    const wishes = stated(card, parts);
    setWrong(!wishes);
    if (wishes) put(wishes);
    typing.current = false;
    return Boolean(wishes);
  };
  const live = (parts) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      const wishes = stated(card, { ...parts, other: [], reference: "" }, false);
      if (!wishes || (wishes.input ?? undefined) === latest.current.input) return;
      put(wishes);
      typing.current = true;
    }, PAUSE);
  };
  return { draft, setDraft, wrong, send, live, hold: () => clearTimeout(timer.current) };
}

export function Question({ card, state, change, t, onStream, problem }) {
  const sides = reading(card);
  const { draft, setDraft, wrong, send, live, hold } = useDraft(card, state, change);
  const newest = useRef(draft);
  newest.current = draft;
  const composing = useRef(false); // within an input method, such as for Chinese
  const write = (part) => (value) => {
    const next = { ...newest.current, [part]: value };
    setDraft((newest.current = next));
    if (part === "input" && !composing.current) live(next);
  };
  const begun = () => ((composing.current = true), hold());
  const composed = () => ((composing.current = false), live(newest.current));
  const onKeyDown = (event) => {
    if (event.key !== "Enter" || event.isComposing || event.target.tagName !== "TEXTAREA") return;
    if (!(event.ctrlKey || event.metaKey) && (event.shiftKey || event.target.dataset.lines)) return;
    event.preventDefault();
    send(draft);
  };
  const choose = (input) => {
    const next = { input, other: [], reference: "" };
    setDraft(next);
    send(next);
  };
  const options = card.options.filter(({ name }) => name in OPTIONS);
  const taken = optionsOf(card, state);
  const contextual = card.explains && card.format === "pytorch" && card.streams === "tokens" && card.target.kind !== "next" && sides.length > 0;
  return html`
    <form class="ask card" novalidate aria-label=${t("input")} onSubmit=${(event) => (event.preventDefault(), send(draft))} onKeyDown=${onKeyDown}
      oncompositionstart=${begun} oncompositionend=${composed}>
      <${Reads} card=${card} />
      <${Examples} card=${card} onChoose=${choose} />
      <${Fields} name="input" card=${card} values=${draft.input} set=${write("input")} />
      ${(card.explains || card.scores) && html`
        <div class="field"><label for="reference">${t("reference.label")}</label>
          <input id="reference" dir="auto" value=${draft.reference} onInput=${(event) => write("reference")(event.currentTarget.value)} /></div>`}
      ${contextual && html`
        <details open=${Boolean(state.other)}><summary>${t("other")}</summary>
          <${Fields} name="other" card=${card} values=${draft.other} set=${write("other")} labelled=${false} /></details>`}
      ${options.length > 0 && html`
        <details><summary>${t("options")}</summary>
          <div class="fields">${options.map(({ name, default: value }) => html`
            <label>${t(`option.${name}`)}
              <input type="number" min=${name === "beam" || name === "n_best" ? 1 : 0} step=${OPTIONS[name]} placeholder=${taken[name] ?? value ?? ""} value=${state[name] ?? ""}
                onChange=${(event) => change({ [name]: event.currentTarget.value })} /></label>`)}</div></details>`}
      ${wrong ? html`<p class="problem" role="alert">${t("numbers.wrong")}</p>` : problem && html`<${Trouble} t=${t} problem=${problem} />`}
      <div class="go">
        <button type="submit" class="main">${t("ask")}</button>
        ${card.streams && html`<button type="button" onClick=${() => send(draft) && onStream(draft)}>${t("stream")}</button>`}
      </div>
    </form>`;
}
