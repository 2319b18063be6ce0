// The panel of synchronous: a photo and how long to wait, or named values; then the most probable labels.
import { bars, call, columns, debounced, errors, h, milliseconds, percent, row, sentence, words } from "./parts.js";
import { latestOnly, sampleFile } from "./samples.js";

export const about = "A photo goes in and the caller waits: decoding, preparing, inference and labelling happen inside one request.";

const WAITS = [["until it is done"], ["5 ms, then a job", "wait=0.005"], ["do not wait: a job", "wait=0"]];
const TOP = 5;

export function mount(element, context) {
  const features = columns(context.metadata.model?.inputs ?? []);
  return features.length ? mountValues(element, context, features) : mountPhotos(element, context);
}

/** The form of a model that takes named values; a button for each example. */
function mountValues(element, context, features) {
  const given = context.metadata.model.examples ?? [];
  const examples = given.map((one) => ({ ...one, features: row(one, features) })).filter((one) => one.features);
  const view = answerView(context.answer);
  let truth;
  const ask = debounced(async () => {
    const item = Object.fromEntries(boxes.map(({ name, box }) => [name, box.value === "" ? null : Number(box.value)]));
    const reply = await context.call("POST", `/classify?top=${TOP}`, item);
    if (reply.ok) view.answer(reply.body, truth);
  });
  const boxes = features.map(({ name, unit, example }) => {
    const box = h("input", { id: name, type: "number", step: "any", inputmode: "decimal", value: example ?? "" });
    box.addEventListener("input", () => { truth = undefined; ask(); });
    return { name, box, field: h("div", { class: "field" }, h("label", { for: name }, `${sentence(words(name))}${unit ? `, ${unit}` : ""}`), box) };
  });
  const pick = (example) => {
    boxes.forEach(({ box }, i) => { box.value = example.features[i] ?? ""; });
    truth = example.answer;
    ask();
  };
  const buttons = examples.map((example) => h("button", { type: "button", onclick: () => pick(example) }, example.answer ?? "Example"));
  element.replaceChildren(
    h("div", { class: "chips", role: "group", "aria-label": "Real examples" }, h("small", {}, "Real examples"), ...buttons),
    ...boxes.map(({ field }) => field));
  if (examples.length) pick(examples[0]);
  else ask();
}

function mountPhotos(element, context) {
  const { model, samples = [] } = context.metadata;
  const photos = samples.filter((name) => /\.(jpe?g|png)$/.test(name));
  const truths = Object.fromEntries((model.examples ?? []).map(({ photo, answer }) => [photo, answer]));
  const view = answerView(context.answer);
  let photoFile;
  const ask = debounced(async () => {
    const file = photoFile;
    if (!file) return;
    view.picture(file);
    const reply = await send(context, file, waits.value());
    if (reply.status === 202) await follow(reply, view, truths[file.name]);
    else if (reply.ok) view.answer(reply.body, truths[file.name]);
  });
  const chosen = latestOnly((file) => { photoFile = file; ask(); });
  const gallery = thumbnails(context.metadata, photos, chosen);
  const waits = waitButtons(ask);
  element.replaceChildren(gallery.element, upload((file) => { gallery.release(); chosen(file); }), waits.element);
  gallery.first();
}

function send(context, file, wait) {
  const prefer = wait ? { Prefer: `respond-async, ${wait}` } : {};
  return context.call("POST", `/classify?top=${TOP}`, file, prefer);
}

/** Polls a job until it has ended; each poll may wait for some seconds. */
async function follow(handedOver, view, truth) {
  const path = handedOver.headers.get("location");
  view.handedOver(handedOver.body);
  for (;;) {
    const reply = await call("GET", `${path}?wait=10`);
    if (!reply.ok) return view.lost(errors(reply));
    if (reply.body.status === "succeeded") return view.answer(reply.body.result, truth, reply.body);
    view.handedOver(reply.body);
    if (!["queued", "running"].includes(reply.body.status)) return;
  }
}

/** A button for each sample photo. */
function thumbnails(metadata, names, chosen) {
  const pick = (name) => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", names[i] === name));
    chosen(sampleFile(metadata, name));
  };
  const buttons = names.map((name) => {
    const image = h("img", { src: `samples/${name}`, alt: name.replace(/\.\w+$/, ""), width: 80, height: 60 });
    Object.assign(image.style, { objectFit: "cover", display: "block", borderRadius: ".4rem" });
    const button = h("button", { type: "button", onclick: () => pick(name) }, image);
    Object.assign(button.style, { padding: ".25rem", borderRadius: ".6rem" });
    return button;
  });
  return {
    element: h("div", { class: "chips", role: "group", "aria-label": "Photos" }, h("small", {}, "Photos"), ...buttons),
    first: () => names.length && pick(names[0]),
    release: () => buttons.forEach((button) => button.setAttribute("aria-pressed", false)),
  };
}

function upload(chosen) {
  const input = h("input", { id: "upload", type: "file", accept: "image/jpeg,image/png" });
  input.addEventListener("change", () => input.files[0] && chosen(input.files[0]));
  Object.assign(input.style, { maxWidth: "100%", gridColumn: "1 / -1" });
  return h("div", { class: "field" }, h("label", { for: "upload" }, "Or your own, JPEG or PNG"), input);
}

/** How long to wait before the request becomes a job. */
function waitButtons(changed) {
  let value;
  const press = (wait) => {
    value = wait;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", WAITS[i][1] === wait));
  };
  const buttons = WAITS.map(([name, wait]) => h("button", { type: "button", onclick: () => { press(wait); changed(); } }, name));
  press(undefined);
  return {
    element: h("div", { class: "chips", role: "group", "aria-label": "Wait at most" }, h("small", {}, "Wait at most"), ...buttons),
    value: () => value,
  };
}

/** The result: the photo, the best label, the most probable labels as bars, the model. */
function answerView(element) {
  const photo = h("img", { alt: "The photo that was sent" });
  Object.assign(photo.style, { maxWidth: "100%", maxHeight: "16rem", borderRadius: ".5rem", display: "block", marginBottom: ".9rem" });
  const said = h("div", { "aria-live": "polite", "aria-atomic": "true" });
  const list = h("ol", { class: "meters bars", "aria-label": "The most probable labels" });
  const maker = h("p", { class: "note" });
  element.replaceChildren(said, list, maker);
  const show = (words, entries, made) => {
    said.replaceChildren(...words);
    bars(list, entries);
    maker.textContent = made;
  };
  return {
    picture(file) {
      URL.revokeObjectURL(photo.src);
      photo.src = URL.createObjectURL(file);
      if (!photo.isConnected) element.prepend(photo);
    },
    lost: (refusal) => show([refusal], [], ""),
    handedOver({ id, status, error }) {
      const text = error ? `Job ${id} ${status}: ${error.detail}` : `Not finished in time. It goes on as job ${id}: ${status}.`;
      show([h("p", { class: error ? "refusal" : "warning", id: "job" }, text)], [], "");
    },
    answer({ predictions, model_name, model_version, release }, truth, job) {
      const [best] = predictions;
      const words = [h("p", { class: "verdict" }, h("strong", {}, best.label), " ", h("span", {}, percent(best.probability)))];
      if (truth) words.push(h("p", { class: "note" }, `Correct answer of this example: ${truth}`));
      if (job) words.push(h("p", { class: "note", id: "job" }, `Result of job ${job.id}. ${stagesOf(job)}`));
      const entries = predictions.map(({ label, probability }) => ({ label, share: probability }));
      show(words, entries, `Answered by ${model_name} version ${model_version}, release ${release}`);
    },
  };
}

const stagesOf = ({ stages }) => Object.entries(stages).map(([name, time]) => `${name} ${milliseconds(time)}`).join(", ");
