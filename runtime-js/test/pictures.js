// node pictures.js < jobs.json: pictures {pixels, height, width, color} brought to a size and colours, as lists of bytes.

import { readFileSync } from "node:fs";
import { inColors, readPixels, resized } from "../src/pictures.js";

/** @type {any[]} */
const jobs = JSON.parse(readFileSync(0, "utf8"));
const made = jobs.map(({ pixels, height, width, color }) => inColors(resized(readPixels(pixels), height, width), color));
console.log(JSON.stringify(made.map(({ data }) => [...data])));
