// The default panel: a field for each value of a model's inputs, and the request as JSON, over the Open Inference Protocol.
import { bars, columns, debounced, h, number, percent, row, sentence, words } from "./parts.js";

export const about = "A model that is served with the Open Inference Protocol.";
const MOST_FIELDS = 64; // for one input; larger ones are written as JSON
const MOST_VALUES = 24; // shown of one output

export function mount(element, { metadata: { model }, call, answer }) {
  const examples = model.examples ?? [];
  const named = columns(model.inputs);
  const given = (example, { name }) => {
    const values = row(example, named);
    return example.inputs?.[name] ?? (values ? values.filter((_, i) => named[i].input === name) : example.features ?? []);
  };
  const inputs = model.inputs.map((input) => fieldset(input, given, () => { press(); refresh(); ask(); }));
  const body = h("textarea", { id: "body", rows: 14, spellcheck: "false" });
  const view = answerView(answer, model);
  const send = async (request) => {
    const reply = await call("POST", `/v2/models/${encodeURIComponent(model.name)}/infer`, request);
    if (reply.ok) view(reply.body);
  };
  const ask = debounced(() => send(read(body.value)));
  const refresh = () => (body.value = pretty({ inputs: inputs.map((input) => input.tensor()) }));
  const press = (example) => buttons.forEach((button, i) => button.setAttribute("aria-pressed", examples[i] === example));
  const pick = (example) => {
    inputs.forEach((input) => input.set(example));
    press(example);
    refresh();
    if (example) ask();
  };
  const buttons = examples.map((example, i) => h("button", { type: "button", onclick: () => pick(example) }, String(example.answer ?? i + 1)));
  const shown = inputs.every((input) => input.element);
  const form = h("form", { onsubmit: (event) => { event.preventDefault(); send(read(body.value)); } },
    h("label", { for: "body" }, "Request, as JSON"), body, h("button", { type: "submit", class: "primary" }, "Infer"));
  element.replaceChildren(
    ...(buttons.length ? [h("div", { class: "chips", role: "group", "aria-label": "Examples" }, h("small", {}, "Examples"), ...buttons)] : []),
    ...inputs.map((input) => input.element).filter(Boolean),
    shown ? h("details", {}, h("summary", {}, "The whole request"), form) : form);
  pick(examples[0]);
}

/** The fields of one input tensor. Without an element if it has too many values. */
function fieldset(input, values, changed) {
  const { name, datatype, shape, features = [], description } = input;
  const sizes = shape.map((size) => (size < 0 ? 1 : size));
  const count = sizes.reduce((product, size) => product * size, 1);
  const few = count <= MOST_FIELDS;
  let kept = [];
  const boxes = few ? Array.from({ length: count }, (_, i) => box(`${name}-${i}`, datatype, changed)) : [];
  const label = (i) => sentence(words(features[i]?.name ?? (count > 1 ? `${name} ${i + 1}` : name)));
  const field = (one, i) => h("div", { class: "field" },
    h("label", { for: one.id }, label(i), features[i]?.unit ? h("small", {}, ` ${features[i].unit}`) : null), one);
  const empty = (i) => features[i]?.example ?? (datatype === "BYTES" ? "" : datatype === "BOOL" ? false : 0);
  return {
    element: few && h("div", { role: "group", "aria-label": `input ${name}` },
      h("h3", {}, `${words(name)} (${datatype}${count > 1 ? `, ${count} values` : ""})`, description ? ` ${description}` : null),
      ...boxes.map(field)),
    tensor: () => ({ name, datatype, shape: sizes, data: few ? boxes.map((one) => value(one, datatype)) : kept }),
    set(example) {
      const given = example ? [values(example, input)].flat(Infinity) : [];
      kept = given;
      boxes.forEach((one, i) => (one.value = String((given.length === count ? given[i] : empty(i)) ?? "")));
    },
  };
}

function box(id, datatype, changed) {
  const one = datatype === "BOOL" ? h("select", { id }, h("option", {}, "false"), h("option", {}, "true"))
    : datatype === "BYTES" ? h("input", { id, type: "text" })
    : h("input", { id, type: "number", step: datatype.startsWith("FP") ? "any" : 1, inputmode: "decimal" });
  one.addEventListener("input", changed);
  return one;
}

/** An empty number is null: a missing value, which the server takes or explains. */
const value = (one, datatype) =>
  datatype === "BYTES" ? one.value : datatype === "BOOL" ? one.value === "true" : one.value === "" ? null : Number(one.value);

/** The main output in large letters, the shares of its labels as bars, then every output. */
function answerView(element, { labels = [], unit }) {
  const said = h("div", { "aria-live": "polite", "aria-atomic": "true" });
  const list = h("ol", { class: "meters bars", "aria-label": "Share of each label" });
  const raw = h("pre", { tabindex: "0", role: "region", "aria-label": "Response" });
  const maker = h("p", { class: "note" });
  return ({ outputs, model_name, model_version, ...rest }) => {
    const [{ data, datatype }] = outputs;
    const shares = labels.length > 1 && data.length === labels.length && datatype.startsWith("FP");
    const best = shares ? data.indexOf(Math.max(...data)) : 0;
    said.replaceChildren(h("p", { class: "verdict" },
      h("strong", {}, shares ? labels[best] : data.length === 1 ? number(data[0]) : `${data.length} values`), " ",
      h("span", {}, shares ? (data.every((share) => share >= 0 && share <= 1) ? percent(data[best]) : number(data[best])) : unit ?? "")));
    const likely = shares && data.every((share) => share >= 0 && share <= 1);
    if (likely) bars(list, labels.map((label, i) => ({ label, share: data[i] })));
    raw.textContent = pretty({ model_name, model_version, ...rest, outputs });
    maker.textContent = `Answered by ${model_name}${model_version ? ` version ${model_version}` : ""}`;
    element.replaceChildren(said, ...(likely ? [list] : []), outputTable(outputs), maker, h("details", {}, h("summary", {}, "The whole response"), raw));
  };
}

function outputTable(outputs) {
  const text = ({ data }) => data.slice(0, MOST_VALUES).map(number).join(" · ") + (data.length > MOST_VALUES ? " …" : "");
  return h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, ...outputs.map((output) =>
    h("tr", {}, h("th", { scope: "row" }, output.name), h("td", {}, text(output)))))));
}

/** Indented JSON whose arrays of plain values stay on one line. */
const pretty = (body) =>
  JSON.stringify(body, null, 2).replace(/\[(?:[^[\]{}"]|"(?:[^"\\]|\\.)*")*\]/g, (list) =>
    list.replace(/"(?:[^"\\]|\\.)*"|\s+/g, (part) => (part[0] === '"' ? part : " ")));

/** Text that is not JSON is sent as a string, so that the server explains what is wrong with it. */
function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
