// The state of the page: flat texts, all of them in the address's fragment, so that the address shows the same again.

import { useCallback, useEffect, useRef, useState } from "./vendor/htm-preact.js";

const LATER = 200; // ms: browsers refuse addresses that change too often, as under a held arrow key

const read = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

/** The state, and what changes it: `change({step: 2, branch: null})`. With `push` the browser's Back undoes it. */
export function useAddress() {
  const [state, set] = useState(read);
  const latest = useRef(state);
  const timer = useRef(0);

  useEffect(() => {
    const follow = () => {
      clearTimeout(timer.current); // what waits to be written belongs to the entry that was left
      set((latest.current = read()));
    };
    addEventListener("popstate", follow);
    return () => removeEventListener("popstate", follow);
  }, []);

  const change = useCallback((wishes, push = false) => {
    const next = Object.entries({ ...latest.current, ...wishes }).filter(([, value]) => value != null && value !== "");
    const address = `#${new URLSearchParams(next)}`;
    set((latest.current = Object.fromEntries(next.map(([key, value]) => [key, String(value)]))));
    clearTimeout(timer.current);
    if (push) history.pushState(null, "", address);
    else timer.current = setTimeout(() => history.replaceState(null, "", address), LATER);
  }, []);

  return [state, change];
}

/** A value that is held as JSON; `otherwise` if it is not JSON. */
export function parsed(text, otherwise) {
  try {
    return text === undefined ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

/** A whole number; undefined where there is none. */
export const whole = (text) => (/^\d+$/.test(text ?? "") ? Number(text) : undefined);
