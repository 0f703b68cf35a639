// What is larger than its place fades at the edges beyond which there is more.

import { html, useEffect, useLayoutEffect, useRef } from "./vendor/htm-preact.js";

const NEAR = 2; // pixels that may be left over

/** Tell an element's style where there is more of it: `data-more` is any of left, right, top and bottom. */
export function useEdges(element) {
  const look = () => {
    const { scrollLeft, scrollTop, clientWidth, clientHeight, scrollWidth, scrollHeight } = element.current;
    const more = { left: scrollLeft, top: scrollTop, right: scrollWidth - clientWidth - scrollLeft, bottom: scrollHeight - clientHeight - scrollTop };
    element.current.dataset.more = Object.keys(more).filter((side) => more[side] > NEAR).join(" ");
  };
  useLayoutEffect(look);
  useEffect(() => {
    const fit = new ResizeObserver(look);
    fit.observe(element.current);
    for (const child of element.current.children) fit.observe(child);
    element.current.addEventListener("scroll", look, { passive: true });
    return () => fit.disconnect();
  }, []);
}

/** A region that scrolls. */
export function Scrolls({ tag = "div", children, ...attributes }) {
  const element = useRef();
  useEdges(element);
  return html`<${tag} ref=${element} ...${attributes}>${children}<//>`;
}
