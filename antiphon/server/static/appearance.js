// The language and the colours of a page: chosen in its head, kept in its address.

import { html, useEffect, useMemo, useState } from "./vendor/htm-preact.js";
import { Choice } from "./picture.js";
import { LANGUAGES } from "./words.js";

const THEMES = ["auto", "light", "dark"];

/** The language of the state, or of the browser. */
export const languageOf = (state) =>
  LANGUAGES[state.lang] ? state.lang : navigator.language.startsWith("zh") ? "zh" : "en";

/** The theme of the state, or of the system; the document gets it. */
export function useTheme(state) {
  const system = useMemo(() => matchMedia("(prefers-color-scheme: dark)"), []);
  const [dark, setDark] = useState(system.matches);
  useEffect(() => {
    const follow = () => setDark(system.matches);
    system.addEventListener("change", follow);
    return () => system.removeEventListener("change", follow);
  }, []);
  const theme = THEMES.slice(1).includes(state.theme) ? state.theme : dark ? "dark" : "light";
  document.documentElement.dataset.theme = theme;
  return theme;
}

/** The fields of both. */
export const Appearance = ({ state, change, t, language }) => html`
  <${Choice} label=${t("language")} value=${language} options=${Object.entries(LANGUAGES)} onChoose=${(lang) => change({ lang })} />
  <${Choice} label=${t("theme")} value=${state.theme ?? "auto"} options=${THEMES.map((theme) => [theme, t(`theme.${theme}`)])}
    onChoose=${(theme) => change({ theme: theme === "auto" ? null : theme })} />`;
