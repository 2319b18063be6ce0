// The panel of prep_pred: choose a model, then a photo, values or a text; the prediction as bars.
import { bars, debounced, h, percent, sentence, words } from "./parts.js";
import { latestOnly, sampleFile } from "./samples.js";

export const about = "One server prepares the inputs, another runs the models; tensors travel between them.";

export function mount(element, { metadata, call, answer }) {
  const view = answerView(answer);
  const models = metadata.predictors.filter(({ name, properties }) => name.startsWith("prep.") && properties).map(read);
  const asking = h("div");
  const choose = (model) => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", models[i] === model));
    const send = async (body, truth) => {
      const reply = await call("POST", `/predict/${model.name}`, body);
      if (reply.ok) view(reply.body, truth);
    };
    asking.replaceChildren(h("h3", {}, model.title), ...FORMS[model.kind](model, send, metadata));
  };
  const buttons = models.map((model) => h("button", { type: "button", onclick: () => choose(model) }, words(model.name)));
  element.replaceChildren(chips("Model", buttons), asking);
  if (models.length) choose(models[0]);
}

function read({ name, properties }) {
  const { kind, title, fields, examples } = properties;
  return { name: name.replace("prep.", ""), kind, title, fields: JSON.parse(fields), examples: JSON.parse(examples) };
}

const chips = (title, buttons) =>
  h("div", { class: "chips", role: "group", "aria-label": title }, h("small", {}, title), ...buttons);

/** The form of each kind of input; sends a first request. `send` takes the body and, if known, the correct answer. */
const FORMS = { picture: pictureForm, values: valuesForm, text: textForm };

function pictureForm({ examples }, send, metadata) {
  const shown = h("img", { class: "preview", alt: "The picture that was sent" });
  const ask = (file, truth) => {
    URL.revokeObjectURL(shown.src);
    shown.src = URL.createObjectURL(file);
    return send(file, truth);
  };
  const sendFile = latestOnly(ask);
  const sample = (name) => {
    press(name);
    return sendFile(sampleFile(metadata, name), examples.find(({ photo }) => photo === name)?.answer);
  };
  const press = (name) => buttons.forEach((button, i) => button.setAttribute("aria-pressed", metadata.samples[i] === name));
  const buttons = metadata.samples.map((name) =>
    h("button", { type: "button", class: "thumbnail", onclick: () => sample(name) },
      h("img", { src: `samples/${name}`, alt: name.replace(/\..*/, "") })));
  const upload = h("input", { id: "upload", type: "file", accept: "image/jpeg,image/png" });
  upload.addEventListener("change", () => { if (upload.files.length) { press(); sendFile(upload.files[0]); } });
  if (metadata.samples.length) sample(metadata.samples[0]);
  return [chips("Real photos", buttons), h("p", {}, h("label", { for: "upload" }, "Your own, JPEG or PNG "), upload), shown];
}

function valuesForm({ fields, examples }, send) {
  const inputs = new Map(fields.map((field) => [field.name, input(field)]));
  let truth;
  const ask = debounced(() => send({ instances: [values(inputs)] }, truth));
  const pick = (example) => {
    for (const [name, { box }] of inputs) box.value = example.item[name] ?? "";
    truth = example.answer;
    ask();
  };
  for (const { box } of inputs.values()) box.addEventListener("input", () => { truth = undefined; ask(); });
  pick(examples[0]);
  const buttons = examples.map((example) => h("button", { type: "button", onclick: () => pick(example) }, example.answer));
  return [chips("Real examples", buttons), ...[...inputs.values()].map(({ element }) => element)];
}

/** A number box or a list; an optional one shows `unknown` while it is empty. */
function input({ name, kind, optional, categories }) {
  const hint = optional ? "unknown" : "";
  const options = [...(optional ? [""] : []), ...categories].map((value) => h("option", { value }, value || hint));
  const box = kind === "category"
    ? h("select", { id: name }, ...options)
    : h("input", { id: name, type: "number", step: "any", inputmode: "decimal", placeholder: hint });
  return { kind, box, element: h("div", { class: "field" }, h("label", { for: name }, sentence(words(name))), box) };
}

function values(inputs) {
  const value = ({ kind, box }) => (box.value === "" ? null : kind === "number" ? Number(box.value) : box.value);
  return Object.fromEntries([...inputs].map(([name, one]) => [name, value(one)]));
}

function textForm({ examples }, send) {
  const area = h("textarea", { id: "text", rows: 4 });
  const ask = debounced(() => send({ instances: [area.value] }, examples.find(({ item }) => item === area.value)?.answer));
  const pick = ({ item }) => { area.value = item; ask(); };
  area.addEventListener("input", ask);
  pick(examples[0]);
  const buttons = examples.map((example) => h("button", { type: "button", onclick: () => pick(example) }, example.answer));
  return [chips("Real examples", buttons), h("label", { for: "text" }, "Text"), area];
}

/** The result; drawn once, then updated. */
function answerView(element) {
  const said = h("div", { "aria-live": "polite", "aria-atomic": "true" });
  const list = h("ol", { class: "meters bars", "aria-label": "Probability of the most probable labels" });
  const maker = h("p", { class: "note" });
  return ({ predictions: [{ label, probabilities }], model_name, model_version, release }, truth) => {
    said.replaceChildren(
      h("p", { class: "verdict" }, h("strong", {}, label), " ", h("span", {}, percent(probabilities[label]))),
      h("p", { class: "note" }, truth ? `Correct answer of this example: ${truth}` : "For your own input"));
    bars(list, Object.entries(probabilities).map(([label, share]) => ({ label, share })));
    maker.textContent = `Answered by ${model_name} version ${model_version}, release ${release}`;
    element.replaceChildren(said, list, maker);
  };
}
