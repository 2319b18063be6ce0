// The panel of web_single: a form with the model's features, and the prediction. Sends a first request.
import { bars, columns, debounced, h, number, percent, row, sentence, words } from "./parts.js";

export const about = "One small model inside one web API, in a single process.";

export function mount(element, context) {
  const { model: served } = context.metadata;
  const features = columns(served.inputs);
  const rows = features.length && served.outputs.some(({ shape }) => shape[0] < 0);
  if (!rows) return import("./tensors.js").then((stock) => stock.mount(element, context));
  const given = (served.examples ?? []).map((one) => ({ ...one, features: row(one, features) }));
  const model = { ...served, examples: given.filter((one) => one.features) };
  const view = answerView(context.answer, model);
  const send = (instances) => context.call("POST", "/predict", { instances });
  const fields = features.map((feature) => featureField(feature, () => { examples.release(); ask(); }));
  const ask = debounced(async () => {
    const truth = examples.answer();
    const reply = await send([Object.fromEntries(fields.map(({ name, value }) => [name, value()]))]);
    for (const field of fields) field.mark(complaints(reply), reply.ok);
    if (reply.ok) view.one(reply.body, truth);
  });
  const examples = exampleButtons(model, (values) => { fields.forEach((field, i) => field.set(values[i])); ask(); });
  const several = rowsForm(features, model.examples, async (instances) => {
    const reply = await send(instances);
    if (reply.ok) view.many(reply.body, instances);
  });
  element.replaceChildren(examples.element, ...fields.map((field) => field.element), several);
  examples.first();
  ask();
}

/** The service's complaints by field name: `instances[0].petal_width` -> petal_width. */
function complaints({ ok, body }) {
  const list = (ok ? body.predictions[0].warnings : body?.errors) ?? [];
  return new Map(list.map(({ field, reason }) => [field.replace(/^instances\[\d+\]\./, ""), reason]));
}

/** A box for one feature; for a number, a slider over its range in training, if known. */
function featureField({ name, unit, minimum, maximum, example, datatype, missing }, changed) {
  const known = minimum != null && maximum > minimum;
  const least = known ? 10 ** Math.floor(Math.log10((maximum - minimum) / 20)) : 0;
  const step = datatype.startsWith("FP") ? least || "any" : Math.max(least, 1);
  const title = sentence(words(name));
  const attributes = { id: name, "aria-describedby": `${name}-hint` };
  const [truth, text] = [datatype === "BOOL", datatype === "BYTES"];
  const box = truth ? h("select", attributes, h("option", {}, "false"), h("option", {}, "true"))
    : h("input", { ...attributes, ...(text ? { type: "text" } : { type: "number", step, inputmode: "decimal" }) });
  const slider = h("input", { type: "range", min: minimum, max: maximum, step, "aria-label": `${title}, slider` });
  const hint = h("p", { class: "hint", id: `${name}-hint` });
  const element = h("div", { class: "field" },
    h("label", { for: name }, title, unit ? h("small", {}, ` ${unit}`) : null), box,
    known ? h("div", { class: "range" }, h("small", {}, number(minimum)), slider, h("small", {}, number(maximum))) : null, hint);
  const follow = () => {
    if (box.value === "") return;
    slider.value = box.value;
    slider.style.setProperty("--share", (slider.value - minimum) / (maximum - minimum));
  };
  const set = (value) => { box.value = value ?? ""; follow(); };
  box.addEventListener("input", () => { follow(); changed(); });
  slider.addEventListener("input", () => { set(slider.value); changed(); });
  set(example ?? minimum ?? (truth ? false : text || missing ? "" : 0));
  return {
    name, element, set,
    value: () => typed(box.value, { datatype, missing }),
    mark(reasons, ok) {
      element.dataset.state = reasons.has(name) ? (ok ? "warning" : "error") : "";
      box.setAttribute("aria-invalid", reasons.has(name) && !ok);
      hint.textContent = sentence(reasons.get(name) ?? "");
    },
  };
}

/** What was typed, as the column takes it; an empty number is one that is missing. Other text is sent as it is: the server explains it. */
function typed(text, { datatype, missing } = {}) {
  if (datatype === "BYTES") return text;
  if (datatype === "BOOL") return { true: true, false: false }[text.toLowerCase()] ?? text;
  return text === "" ? (missing ? null : undefined) : isFinite(text) ? Number(text) : text;
}

/** A button for each example of the manifest; its correct answer, if it has one, is shown until a value changes. */
function exampleButtons({ examples, unit }, chosen) {
  let pressed;
  const name = ({ answer }) => answer == null ? undefined : unit ? `${answer} ${unit}` : String(answer);
  const press = (example) => {
    pressed = example;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", examples[i] === example));
  };
  const pick = (example) => { press(example); chosen(example.features); };
  const buttons = examples.map((example, i) =>
    h("button", { type: "button", title: example.features.join(", "), onclick: () => pick(example) }, name(example) ?? `Row ${i + 1}`));
  return {
    element: h("div", { class: "chips", role: "group", "aria-label": "Real examples" }, h("small", {}, "Real examples"), ...buttons),
    first: () => examples.length && pick(examples[0]),
    release: () => press(undefined),
    answer: () => pressed && name(pressed),
  };
}

/** Several rows pasted as CSV, with or without a header line. */
function rowsForm(features, examples, send) {
  const area = h("textarea", { id: "rows", rows: 5, spellcheck: "false", "aria-describedby": "rows-hint" });
  const cell = (value) => (/[,;\t"\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const lines = [features.map(({ name }) => name), ...examples.map((one) => one.features)];
  area.value = lines.map((cells) => cells.map(cell).join(",")).join("\n");
  const submit = async (event) => {
    event.preventDefault();
    const { read } = await import("./csv.js");
    send(instances(read(area.value), features));
  };
  return h("details", {}, h("summary", {}, "Several rows in one request"),
    h("form", { onsubmit: submit }, h("label", { for: "rows" }, "Rows, as CSV"), area,
      h("p", { class: "note", id: "rows-hint" }, "The header line is optional; it may list columns in any order."),
      h("button", { type: "submit", class: "primary" }, "Predict all rows")));
}

function instances(lines, features) {
  const known = new Map(features.map((one) => [one.name, one]));
  const header = lines[0].every((cell) => known.has(cell)) ? lines.shift() : [...known.keys()];
  const entry = (value, name) => [name, typed(value, known.get(name))];
  return lines.map((cells) => Object.fromEntries(cells.map((value, i) => entry(value, header[i] ?? `column_${i + 1}`))));
}

/** The result: one prediction in full, or several as a table. */
function answerView(element, { labels = [] }) {
  const said = h("div", { "aria-live": "polite", "aria-atomic": "true" });
  const list = h("ol", { class: "meters bars", "aria-label": "Probability of each class" });
  const maker = h("p", { class: "note" });
  const show = (body, ...children) => {
    maker.textContent = `Answered by ${body.model_name} version ${body.model_version}, release ${body.release}`;
    if (children.some((child) => !child.isConnected)) element.replaceChildren(...children, maker); // else: moved, not redrawn
  };
  return {
    one(body, truth) {
      const [prediction] = body.predictions;
      const source = truth ? `Correct answer of this example: ${truth}` : "For these values";
      said.replaceChildren(verdict(prediction), h("p", { class: "note" }, source), ...remarks(prediction, ""));
      if (!prediction.probabilities) return show(body, said);
      bars(list, labels.map((label) => ({ label, share: prediction.probabilities[label] })));
      show(body, said, list);
    },
    many(body, instances) {
      show(body, predictionTable(body.predictions, instances));
      element.scrollIntoView({ block: "nearest" }); // on a phone it is above the form
    },
  };
}

function verdict({ label, probabilities, value, unit }) {
  const [main, beside] = label === undefined ? [number(value), unit] : [label, probabilities && percent(probabilities[label])];
  return h("p", { class: "verdict" }, h("strong", {}, main), " ", h("span", {}, beside ?? ""));
}

function remarks({ warnings = [] }, row) {
  return warnings.map(({ field, reason }) => h("p", { class: "warning" }, row, h("code", {}, field), " ", reason));
}

function predictionTable(predictions, instances) {
  const row = ({ label, probabilities, value, unit }, i) => h("tr", {},
    h("td", {}, i + 1), h("td", {}, Object.values(instances[i]).join(" · ")),
    h("td", {}, h("b", {}, label ?? number(value))), h("td", {}, label === undefined ? unit ?? "" : probabilities ? percent(probabilities[label]) : ""));
  return h("div", { "aria-live": "polite" },
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Predictions" },
      h("table", {},
        h("thead", {}, h("tr", {}, ...["Row", "Values", "Answer", ""].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, ...predictions.map(row)))),
    ...predictions.flatMap((prediction, i) => remarks(prediction, `Row ${i + 1}: `)));
}
