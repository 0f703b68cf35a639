// Pictures, tables and values as files.

const DRAWN = ["fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family", "font-weight", "text-anchor"];
const SHARP = 2; // pixels of a PNG for each of the page's

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** An SVG with its styles within it, on the ground of the page, so that it needs nothing else. */
function alone(svg) {
  const copy = svg.cloneNode(true);
  const elements = svg.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((element, place) => {
    const style = getComputedStyle(elements[place]);
    DRAWN.forEach((name) => element.setAttribute(name, style.getPropertyValue(name)));
    element.removeAttribute("class");
  });
  const ground = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  Object.entries({ width: "100%", height: "100%", fill: getComputedStyle(svg.closest(".card")).backgroundColor }).forEach(
    ([name, value]) => ground.setAttribute(name, value),
  );
  copy.prepend(ground);
  return `<?xml version="1.0"?>\n${new XMLSerializer().serializeToString(copy)}`;
}

export const saveSvg = (svg, name) => save(new Blob([alone(svg)], { type: "image/svg+xml" }), `${name}.svg`);

export function savePng(svg, name) {
  const picture = new Image();
  picture.onload = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [SHARP * picture.width, SHARP * picture.height];
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    saveCanvas(canvas, name);
  };
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(alone(svg))}`;
}

export const saveCanvas = (canvas, name) => canvas.toBlob((blob) => save(blob, `${name}.png`));

/** CSV as RFC 4180 has it. */
export function saveCsv({ head, rows }, name) {
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  const text = [head, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
  save(new Blob(["\ufeff", text], { type: "text/csv" }), `${name}.csv`);
}

export const saveJson = (value, name) => save(new Blob([JSON.stringify(value, null, 1)], { type: "application/json" }), `${name}.json`);
