// The panel of parallel: a flower's measurements, each predictor's answer when it arrives, and the combined one.
import { bars, curl, debounced, errors, h, milliseconds, number, percent, send, sentence, words } from "./parts.js";

export const about = "Several independent models get the same input, and their answers become one answer.";

const WAYS = {
  mean: "mean of the probabilities", vote: "majority of the labels", best: "the most confident model", all: "all answers, and the mean",
};

export async function mount(element, { metadata, answer }) {
  const samples = await send({ url: "samples/iris.json" }).then(({ response }) => response.json());
  const known = new Set(metadata.predictors.flatMap(({ properties }) => JSON.parse(properties?.features ?? "[]")));
  const columns = samples.columns.filter((name) => known.size === 0 || known.has(name));
  const view = answerView(answer, metadata.predictors.map(({ name }) => name));
  const how = selectWay();
  const requestBody = () => ({ instances: [Object.fromEntries(fields.map(({ name, value }) => [name, value()]))], aggregate: how.value });
  const ask = debounced(() => streamed(requestBody(), view));
  const fields = columns.map((name) => field(name, samples, () => { examples.release(); ask(); }));
  const examples = exampleButtons(samples, (row) => { fields.forEach(({ name, set }) => set(row[samples.columns.indexOf(name)])); ask(); });
  how.addEventListener("change", ask);
  element.replaceChildren(examples.element, ...fields.map((one) => one.element),
    h("div", { class: "field" }, h("label", { for: "aggregate" }, "Combine answers by"), h("span"), h("div", { class: "hint" }, how)),
    itemForm((items) => streamed({ items, aggregate: how.value }, view)));
  examples.first();
}

/** Reads the response line by line. An error is shown where the page shows errors. */
async function streamed(body, view) {
  const url = new URL("predict/stream", document.baseURI).href;
  const request = { method: "POST", url, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const refusal = document.getElementById("refusal");
  view.begin(request);
  try {
    const { response } = await send(request);
    const failure = response.ok ? undefined : { body: await response.json(), headers: response.headers, status: response.status };
    refusal.replaceChildren(...(failure ? [errors(failure)] : []));
    view.stale(!response.ok);
    if (response.ok) for await (const event of lines(response.body)) view[event.event](event, refusal);
  } catch (error) {
    const detail = `The service did not respond: ${error.message}.`;
    refusal.replaceChildren(errors({ body: { title: "No response", detail }, headers: new Headers(), status: 0 }));
    view.stale(true);
  }
}

/** The JSON objects of a body that has one on each line. */
async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const whole = (rest + part.value).split("\n");
    rest = whole.pop();
    for (const line of whole) yield JSON.parse(line);
  }
}

/** A number box, and a slider over the range of the samples. */
function field(name, { columns, items, unit }, changed) {
  const seen = Object.values(items).map((row) => row[columns.indexOf(name)]);
  const [low, high] = [Math.min(...seen), Math.max(...seen)];
  const box = h("input", { id: name, type: "number", step: 0.1, inputmode: "decimal" });
  const slider = h("input", { type: "range", min: low, max: high, step: 0.1, "aria-label": `${sentence(words(name))}, slider` });
  const follow = () => {
    if (box.value === "") return;
    slider.value = box.value;
    slider.style.setProperty("--share", (slider.value - low) / (high - low));
  };
  const set = (value) => { box.value = value; follow(); };
  box.addEventListener("input", () => { follow(); changed(); });
  slider.addEventListener("input", () => { set(slider.value); changed(); });
  const element = h("div", { class: "field" },
    h("label", { for: name }, sentence(words(name)), h("small", {}, ` ${unit}`)), box,
    h("div", { class: "range" }, h("small", {}, number(low)), slider, h("small", {}, number(high))));
  return { name, element, set, value: () => (box.value === "" ? undefined : Number(box.value)) };
}

/** One flower of each species, and one on which the classifiers disagree. */
function exampleButtons({ items, species }, chosen) {
  const shown = { ...Object.fromEntries(Object.entries(species).map(([name, [first]]) => [name, String(first)])), "models disagree": "71" };
  const press = (id) => buttons.forEach((button) => button.setAttribute("aria-pressed", button.dataset.id === id));
  const pick = (id) => { press(id); chosen(items[id]); };
  const buttons = Object.entries(shown).map(([name, id]) =>
    h("button", { type: "button", "data-id": id, title: `flower ${id}: ${items[id].join(", ")}`, onclick: () => pick(id) }, name));
  return {
    element: h("div", { class: "chips", role: "group", "aria-label": "Real flowers" }, h("small", {}, "Real flowers"), ...buttons),
    first: () => pick(Object.values(shown)[0]),
    release: () => press(undefined),
  };
}

const selectWay = () => h("select", { id: "aggregate" },
  ...Object.entries(WAYS).map(([value, text]) => h("option", { value, selected: value === "mean" }, text)));

function itemForm(send) {
  const box = h("textarea", { id: "items", rows: 1, spellcheck: "false" });
  box.value = "1, 71, 150";
  const submit = (event) => { event.preventDefault(); send(box.value.split(/[\s,]+/).filter(Boolean)); };
  return h("details", {}, h("summary", {}, "By item id, with features from the store"),
    h("form", { onsubmit: submit }, h("label", { for: "items" }, "Item ids, 1 to 150"), box,
      h("p", { class: "note" }, "Needs VARIANT=features."), h("button", { type: "submit", class: "primary" }, "Predict these items")));
}

/** The result: the combined answer, and below it a bar for each predictor with its time to answer. */
function answerView(element, names) {
  const said = h("div", { "aria-live": "polite", "aria-atomic": "true" });
  const shares = h("ol", { class: "meters bars", "aria-label": "Share of each label" });
  const lanes = h("ol", { class: "meters spans", id: "lanes", "aria-label": "Time of each predictor" });
  const shell = h("code", { id: "curl" });
  const maker = h("p", { class: "note" });
  let came = [], over = false;
  element.replaceChildren(said, shares, h("h3", {}, "Time until each predictor answered"), lanes, maker,
    h("details", {}, h("summary", {}, "The same with curl"), h("pre", { tabindex: "0", role: "region", "aria-label": "curl command" }, shell)));
  const draw = () => {
    const longest = Math.max(...came.map(({ ms }) => ms), 1);
    lanes.replaceChildren(...names.map((name) => lane(name, came.find((one) => one.name === name), longest, over)));
  };
  const add = (event) => { came.push(event); draw(); };
  return {
    begin(request) { [came, over] = [[], false]; draw(); shell.textContent = curl(request); },
    stale(is) { element.classList.toggle("stale", is); over = is; draw(); },
    answer: add,
    missing: add,
    failed(event, refusal) {
      refusal.replaceChildren(errors({ body: event, headers: new Headers(), status: event.status }));
      element.classList.add("stale");
    },
    predictions({ predictions, missing, models, release }) {
      const absent = Object.entries(missing).map(([name, why]) => h("p", { class: "warning" }, h("code", {}, name), " is missing: ", why));
      said.replaceChildren(...(predictions.length === 1 ? [verdict(predictions[0])] : [table(predictions)]), ...absent);
      const [{ votes, probabilities }] = predictions;
      const counted = votes && Object.fromEntries(Object.entries(votes).map(([label, count]) => [label, count / total(votes)]));
      const shown = predictions.length === 1 ? Object.entries(probabilities ?? counted ?? {}) : [];
      bars(shares, shown.map(([label, share]) => ({ label, share })));
      maker.textContent = `Answered by ${Object.values(models).join(", ")}, release ${release}`;
    },
  };
}

function lane(name, event, longest, over) {
  const bar = h("i", { class: event?.event === "answer" ? "" : "rest" });
  bar.style.width = `${(100 * (event?.ms ?? 0)) / longest}%`;
  const text = !event ? (over ? "no answer" : "waiting") : event.reason ? "missing" : event.answers.map(brief).slice(0, 3).join(", ");
  return h("li", { "data-name": name, title: event?.reason ?? "" }, h("span", {}, name, h("br"), h("small", {}, text)),
    h("span", { class: "track", "aria-hidden": "true" }, bar), h("b", {}, event ? milliseconds(event.ms) : ""));
}

const brief = ({ label, probabilities, value, unit }) =>
  label === undefined ? `${number(value)} ${unit}` : `${label} ${percent(probabilities[label])}`;

const total = (votes) => Object.values(votes).reduce((sum, count) => sum + count);

/** The values of regressors in a prediction, by name. */
const values = (prediction) => Object.entries(prediction).filter(([, value]) => typeof value === "number");

function verdict({ label, probabilities, votes, by, ...rest }) {
  const beside = votes ? `${votes[label]} of ${total(votes)} votes` : percent(probabilities?.[label] ?? 0);
  const texts = values(rest).map(([name, value]) => `${words(name)} ${number(value)}`);
  return h("div", {},
    label === undefined ? null : h("p", { class: "verdict" }, h("strong", {}, label), " ", h("span", {}, by ? `${beside}, from ${by}` : beside)),
    texts.length ? h("p", { class: "note" }, sentence(texts.join(", "))) : null);
}

function table(predictions) {
  const row = (one, index) => h("tr", {}, h("td", {}, index + 1), h("td", {}, h("b", {}, one.label ?? "")),
    h("td", {}, values(one).map(([name, value]) => `${words(name)} ${number(value)}`).join(", ")));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Predictions" },
    h("table", {}, h("tbody", {}, ...predictions.map(row))));
}
