// The default panel: sends a request to any model over the Open Inference Protocol.
import { h } from "./parts.js";

export const about = "A model that is served with the Open Inference Protocol.";

export function mount(element, { metadata: { model }, call, answer }) {
  const body = h("textarea", { id: "body", rows: 14, spellcheck: "false" });
  const shown = h("pre", { tabindex: "0", role: "region", "aria-label": "Response" });
  const ask = async () => {
    const reply = await call("POST", `/v2/models/${model.name}/infer`, read(body.value));
    if (reply.ok) shown.textContent = pretty(reply.body);
  };
  body.value = pretty({ inputs: model.inputs.map((input) => tensor(input, model.examples?.[0])) });
  element.replaceChildren(
    h("form", { onsubmit: (event) => { event.preventDefault(); ask(); } },
      h("label", { for: "body" }, "Request, as JSON"), body, h("button", { type: "submit", class: "primary" }, "Infer")));
  answer.replaceChildren(shown);
  if (model.examples?.length) ask();
}

/** One row of the first example, or an empty tensor to fill in. */
function tensor({ name, datatype, shape }, example) {
  const data = example?.features ?? [];
  return { name, datatype, shape: shape.map((size) => (size < 0 ? 1 : size)), data };
}

/** Indented JSON whose arrays of plain values stay on one line. */
const pretty = (value) =>
  JSON.stringify(value, null, 2).replace(/\[[^[\]{}"]*\]/g, (list) => list.replace(/\s+/g, " "));

/** Text that is not JSON is sent as a string, so that the server explains what is wrong with it. */
function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
