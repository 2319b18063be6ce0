// The panel of serial: choose a page, see it rotated upright, its lines found and read, and the time of each stage.
import { h, milliseconds, percent, sentence, words } from "./parts.js";
import { latestOnly, sampleFile } from "./samples.js";

export const about = "Models that depend on each other: which way up is the page, where is text on it, and what does the text say.";

const STAGE_SHOWN = 450; // ms for which each stage is shown
const LARGEST = 1600; // pixels of the canvas; the boxes are drawn in the picture's own coordinates
const STYLE = `
  .samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); gap: .6rem; margin-bottom: 1rem; }
  .samples button { border-radius: .5rem; padding: .4rem; line-height: 1.3; overflow-wrap: anywhere; }
  .samples img { display: block; width: 100%; height: 7rem; object-fit: contain; margin-bottom: .3rem; }
  .upload { display: block; border: 1px dashed var(--quiet); border-radius: .5rem; padding: .8rem; cursor: pointer; font-size: .875rem; }
  .upload input { display: block; margin-top: .4rem; max-width: 100%; font: inherit; }
  .upload.over { border-color: var(--accent); background: var(--track); }
  .stages { display: grid; gap: .35rem; margin: .8rem 0 1rem; }
  .stages button { display: grid; grid-template-columns: 1.6rem 1fr auto; gap: .5rem; width: 100%; text-align: left; border-radius: .5rem; align-items: baseline; }
  .stages b { font-weight: 600; margin-right: .35rem; }
  .stages button[aria-pressed="true"] small { color: inherit; }
  .sheet { position: relative; margin: 0; border: 1px solid var(--line); border-radius: .4rem; overflow: hidden; line-height: 0; }
  .sheet canvas { width: 100%; height: auto; }
  .sheet svg { position: absolute; inset: 0; width: 100%; height: 100%; }
  .sheet rect { fill: #1d6b5a22; stroke: #1d6b5a; stroke-width: 1.5px; vector-effect: non-scaling-stroke; }
  .sheet text { fill: #101415; font-family: system-ui, sans-serif; }
  .sheet rect.again { stroke: #b3560b; fill: #b3560b22; }
  .sheet[data-stage="orientation"] svg, .sheet[data-stage="detection"] text { display: none; }
  .sheet[data-stage="recognition"] rect, .sheet[data-stage="recognition-heavy"] rect { fill: #fffefbe8; stroke-width: 1px; }
  .sheet[data-stage="recognition-heavy"] rect.again { fill: #ffe9c9f2; stroke-width: 2px; }
  .sheet rect.lit { stroke-width: 3px; }
  .lines { margin-top: 1rem; max-height: 26rem; overflow-y: auto; }
  .lines tr.lit td { background: var(--track); }
  .lines td { vertical-align: baseline; }
  .lines td:first-child { overflow-wrap: anywhere; }
  .lines td:nth-child(2) { white-space: nowrap; font-size: .8125rem; color: var(--soft); }
  @media (max-width: 30rem) { .lines :is(th, td):nth-child(2) { display: none; } }
`;

export function mount(element, context) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  const view = answerView(context.answer);
  const read = latestOnly(async (picture) => {
    const reply = await context.call("POST", "/read", picture);
    if (reply.ok) view.show(await createImageBitmap(picture), reply);
  });
  const pictures = (context.metadata.samples ?? []).filter((name) => /\.(jpe?g|png)$/.test(name));
  const buttons = pictures.map((name) => sampleButton(name, () => {
    press(name);
    return read(sampleFile(context.metadata, name));
  }));
  const press = (name) => buttons.forEach((button, i) => button.setAttribute("aria-pressed", pictures[i] === name));
  const upload = uploadField((picture) => { press(); return read(picture); });
  element.replaceChildren(h("div", { class: "samples", role: "group", "aria-label": "Samples" }, ...buttons), upload);
  buttons[0]?.click();
}

function sampleButton(name, chosen) {
  const title = sentence(words(name.replace(/\.\w+$/, "")));
  return h("button", { type: "button", "aria-pressed": "false", onclick: chosen },
    h("img", { src: `samples/${name}`, alt: "", loading: "lazy" }), title);
}

/** A file from this device, chosen or dropped. */
function uploadField(chosen) {
  const input = h("input", { type: "file", accept: "image/jpeg,image/png" });
  const field = h("label", { class: "upload" }, "Your own page, JPEG or PNG", input);
  const take = (files) => files.length && chosen(files[0]);
  input.addEventListener("change", () => take(input.files));
  field.addEventListener("drop", (event) => { event.preventDefault(); field.classList.remove("over"); take(event.dataTransfer.files); });
  field.addEventListener("dragover", (event) => { event.preventDefault(); field.classList.add("over"); });
  field.addEventListener("dragleave", () => field.classList.remove("over"));
  return field;
}

function answerView(element) {
  let timers = [];
  return {
    show(bitmap, { body, stages }) {
      timers.forEach(clearTimeout);
      const took = new Map(stages.map(({ name, duration }) => [name, duration]));
      const steps = stepsOf(body).filter(({ stage }) => took.has(stage));
      const figure = h("figure", { class: "sheet" }, upright(bitmap, body), overlay(body));
      const reach = (step) => {
        figure.dataset.stage = step.stage;
        buttons.forEach((button, i) => button.setAttribute("aria-pressed", steps[i] === step));
      };
      const buttons = steps.map((step, i) => stageButton(step, i, took.get(step.stage), () => { timers.forEach(clearTimeout); reach(step); }));
      element.replaceChildren(
        h("p", { class: "verdict", "aria-live": "polite" }, h("strong", {}, count(body.lines.length, "line")), h("span", {}, verdictOf(body))),
        ...Object.entries(body.missing ?? {}).map(([stage, why]) => h("p", { class: "warning" }, h("code", {}, stage), " ", why)),
        h("div", { class: "stages", role: "group", "aria-label": "Stages" }, ...buttons),
        figure, lineTable(body.lines),
        h("p", { class: "note" }, `Models of release ${body.model_release}: ${Object.values(body.models).join(", ")}; software release ${body.release}`));
      light(element);
      const pause = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : STAGE_SHOWN;
      timers = steps.map((step, i) => setTimeout(() => reach(step), i * pause));
    },
  };
}

const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

const verdictOf = ({ turned, lines, uncertain }) =>
  [uncertain ? `${uncertain} more too uncertain` : "", turned ? `was rotated by ${turned}°` : "", lines.length ? `lowest confidence ${percent(Math.min(...lines.map((line) => line.confidence)))}` : ""].filter(Boolean).join(", ");

/** The stages in order, each with its result. */
function stepsOf({ turned, lines, left_out: leftOut }) {
  const again = lines.filter((line) => line.read_by === "recognition-heavy").length;
  return [
    { stage: "orientation", said: turned ? `was rotated by ${turned}°` : "already upright" },
    { stage: "detection", said: count(lines.length, "box").replace("boxs", "boxes") + (leftOut ? `, ${leftOut} left out` : "") },
    { stage: "recognition", said: `${count(lines.length, "line")} read` },
    { stage: "recognition-heavy", said: `${count(again, "uncertain line")} read better` },
  ];
}

function stageButton({ stage, said }, index, duration, chosen) {
  return h("button", { type: "button", "data-stage": stage, onclick: chosen },
    h("small", {}, index + 1), h("span", {}, h("b", {}, words(stage.replace("-", ", "))), h("small", {}, said)), h("small", {}, milliseconds(duration)));
}

/** The picture, upright, as the models read it. */
function upright(bitmap, { width, height, turned }) {
  const scale = Math.min(1, LARGEST / Math.max(width, height));
  const canvas = h("canvas", { width: Math.round(width * scale), height: Math.round(height * scale), role: "img", "aria-label": "The page, upright" });
  const draw = canvas.getContext("2d");
  draw.scale(scale, scale);
  draw.translate(width / 2, height / 2);
  draw.rotate((-turned * Math.PI) / 180);
  draw.drawImage(bitmap, -bitmap.width / 2, -bitmap.height / 2);
  return canvas;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A box around each line, and over the boxes the texts, each as wide as its box. */
function overlay({ lines, width, height }) {
  const marks = (index, by) => ({ "data-line": index, class: by === "recognition-heavy" ? "again" : "first" });
  const boxes = lines.map(({ text, confidence, box: [left, top, right, bottom], read_by: by }, index) =>
    svg("rect", { ...marks(index, by), x: left, y: top, width: right - left, height: bottom - top },
      svg("title", {}, `${text} (${percent(confidence)}, ${by})`)));
  const texts = lines.map(({ text, box: [left, top, right, bottom], read_by: by }, index) =>
    svg("text", {
      ...marks(index, by), x: left + (right - left) * 0.02, y: bottom - (bottom - top) * 0.26, "font-size": (bottom - top) * 0.68,
      textLength: (right - left) * 0.96, lengthAdjust: "spacingAndGlyphs", "pointer-events": "none",
    }, text));
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, ...boxes, ...texts);
}

function lineTable(lines) {
  const row = ({ text, confidence, read_by: by }, index) => h("tr", { "data-line": index, class: by === "recognition-heavy" ? "again" : false },
    h("td", {}, text), h("td", {}, by), h("td", {}, percent(confidence)));
  return h("div", { class: "lines scroll", tabindex: "0", role: "region", "aria-label": "Lines" },
    h("table", {},
      h("thead", {}, h("tr", {}, ...["Text", "Read by", "Confidence"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, ...lines.map(row))));
}

/** Highlights the line under the pointer in the picture and in the table. */
function light(element) {
  const lit = (event, on) => {
    const line = event.target.closest?.("[data-line]")?.dataset.line;
    if (line !== undefined) element.querySelectorAll(`[data-line="${line}"]`).forEach((one) => one.classList.toggle("lit", on));
  };
  element.onpointerover = (event) => lit(event, true);
  element.onpointerout = (event) => lit(event, false);
}
