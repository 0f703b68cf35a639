// npm runs this after `npm install`: it copies what the page needs of onnxruntime-web into the folder ort.

import { copyFileSync, mkdirSync, readFileSync } from "node:fs";

const { antiphon } = JSON.parse(readFileSync("package.json", "utf8"));
mkdirSync("ort", { recursive: true });
for (const name of antiphon.files) copyFileSync(`node_modules/onnxruntime-web/dist/${name}`, `ort/${name}`);
console.log("ort/ is complete; node_modules is no longer needed, and need not be published");
