// The panel of web_single: a form with the model's features, and the prediction. Sends a first request.
import { bars, debounced, h, number, percent, sentence, words } from "./parts.js";

export const about = "One small model inside one web API, in a single process.";

export function mount(element, context) {
  const { model: served } = context.metadata;
  const [{ features, datatype }, another] = served.inputs;
  const named = !another && features?.length && !["BYTES", "BOOL"].includes(datatype);
  if (!named) return import("./tensors.js").then((stock) => stock.mount(element, context));
  const model = { ...served, examples: (served.examples ?? []).filter((one) => one.features?.length === features.length) };
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
  const names = features.map(({ name }) => name);
  const several = rowsForm(names, model.examples, async (instances) => {
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
  return new Map(list.map(({ field, reason }) => [field.split(/[^\w]+/).filter(Boolean).pop(), reason]));
}

/** A number box for one feature, and a slider over its range in training, if known. */
function featureField({ name, unit, minimum, maximum, example }, changed) {
  const known = minimum != null && maximum > minimum;
  const step = known ? 10 ** Math.floor(Math.log10((maximum - minimum) / 20)) : "any";
  const title = sentence(words(name));
  const box = h("input", { id: name, type: "number", step, inputmode: "decimal", "aria-describedby": `${name}-hint` });
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
  const set = (value) => { box.value = value; follow(); };
  box.addEventListener("input", () => { follow(); changed(); });
  slider.addEventListener("input", () => { set(slider.value); changed(); });
  set(example ?? minimum ?? 0);
  return {
    name, element, set,
    value: () => (box.value === "" ? undefined : Number(box.value)),
    mark(reasons, ok) {
      element.dataset.state = reasons.has(name) ? (ok ? "warning" : "error") : "";
      box.setAttribute("aria-invalid", reasons.has(name) && !ok);
      hint.textContent = sentence(reasons.get(name) ?? "");
    },
  };
}

/** A button for each example of the manifest; its correct answer is shown until a value changes. */
function exampleButtons({ examples, unit }, chosen) {
  let pressed;
  const name = ({ answer }) => (unit ? `${answer} ${unit}` : answer ?? "example");
  const press = (example) => {
    pressed = example;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", examples[i] === example));
  };
  const pick = (example) => { press(example); chosen(example.features); };
  const buttons = examples.map((example) =>
    h("button", { type: "button", title: example.features.join(", "), onclick: () => pick(example) }, name(example)));
  return {
    element: h("div", { class: "chips", role: "group", "aria-label": "Real examples" }, h("small", {}, "Real examples"), ...buttons),
    first: () => examples.length && pick(examples[0]),
    release: () => press(undefined),
    answer: () => pressed && name(pressed),
  };
}

/** Several rows pasted as CSV, with or without a header line. */
function rowsForm(names, examples, send) {
  const area = h("textarea", { id: "rows", rows: 5, spellcheck: "false", "aria-describedby": "rows-hint" });
  area.value = [names, ...examples.map(({ features }) => features)].map((cells) => cells.join(",")).join("\n");
  const submit = (event) => { event.preventDefault(); send(table(area.value, names)); };
  return h("details", {}, h("summary", {}, "Several rows in one request"),
    h("form", { onsubmit: submit }, h("label", { for: "rows" }, "Rows, as CSV"), area,
      h("p", { class: "note", id: "rows-hint" }, "The header line is optional; it may list columns in any order."),
      h("button", { type: "submit", class: "primary" }, "Predict all rows")));
}

/** CSV lines as instances. Text and missing values are sent as they are: the server reports them. */
function table(text, names) {
  const lines = text.trim().split(/\r?\n/).map((line) => line.split(/[,;\t]/).map((cell) => cell.trim()));
  const header = lines[0].every((cell) => names.includes(cell)) ? lines.shift() : names;
  const cell = (value) => (value !== "" && Number.isFinite(Number(value)) ? Number(value) : value);
  return lines.map((cells) => Object.fromEntries(cells.map((value, i) => [header[i] ?? `column_${i + 1}`, cell(value)])));
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
      const source = truth ? `Correct answer of this example: ${truth}` : "For your own values";
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
  const [main, beside] = label === undefined ? [number(value), unit] : [label, percent(probabilities[label])];
  return h("p", { class: "verdict" }, h("strong", {}, main), " ", h("span", {}, beside ?? ""));
}

function remarks({ warnings = [] }, row) {
  return warnings.map(({ field, reason }) => h("p", { class: "warning" }, row, h("code", {}, field), " ", reason));
}

function predictionTable(predictions, instances) {
  const row = ({ label, probabilities, value, unit }, i) => h("tr", {},
    h("td", {}, i + 1), h("td", {}, Object.values(instances[i]).join(" · ")),
    h("td", {}, h("b", {}, label ?? number(value))), h("td", {}, label === undefined ? unit ?? "" : percent(probabilities[label])));
  return h("div", { "aria-live": "polite" },
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Predictions" },
      h("table", {},
        h("thead", {}, h("tr", {}, ...["Row", "Values", "Answer", ""].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, ...predictions.map(row)))),
    ...predictions.flatMap((prediction, i) => remarks(prediction, `Row ${i + 1}: `)));
}
