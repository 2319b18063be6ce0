// The page: reads the service's metadata, mounts the pattern's panel, shows the time of each request.
import * as panel from "./panel.js";
import { call, copyButton, curl, errors, h, keyed, number, sentence, timeline, words } from "./parts.js";

// ms; the first two together are the longest time until a lost server is shown
const HEALTH_EVERY = 1_000, HEALTH_TIMEOUT = 1_500, METADATA_TIMEOUT = 10_000;
const at = (id) => document.getElementById(id);
let starting = false, introduced = false, mounted = false, latestCall = 0;

/** Introduces the service, then mounts its panel once there is a model (a proxy has none: it is undefined there). */
async function start() {
  const reply = await call("GET", "/metadata", undefined, {}, METADATA_TIMEOUT);
  if (!reply.ok) return at("refusal").replaceChildren(errors(reply));
  const metadata = reply.body;
  if (!introduced) introduce(metadata, panel.about);
  if (metadata.model === null) return;
  at("refusal").replaceChildren();
  if (metadata.model) describe(metadata.model, metadata.release);
  await panel.mount(at("ask"), { metadata, call: callAndShow, answer: at("answer") });
  mounted = true;
}

const failed = ({ message }) =>
  at("refusal").replaceChildren(errors({ body: { title: "The page did not start", detail: message }, headers: new Headers() }));

function introduce({ pattern, service, release }, about) {
  introduced = true;
  document.title = words(pattern);
  at("pattern").textContent = words(pattern);
  at("about").textContent = about ?? "";
  at("service").textContent = `serving pattern · ${service} · release ${release}`;
}

/** A panel's `call`: shows the reply's times or its error, unless a newer call has begun. */
async function callAndShow(method, path, body, headers) {
  const thisCall = ++latestCall;
  const busy = setTimeout(() => (at("answer").ariaBusy = "true"), 300);
  const reply = await call(method, path, body, headers);
  clearTimeout(busy);
  if (thisCall !== latestCall) return { ...reply, ok: false, status: 0 };
  at("answer").ariaBusy = "false";
  at("answer").classList.toggle("stale", !reply.ok);
  at("refusal").replaceChildren(...(reply.ok ? [] : [errors(reply)]));
  showCall(reply);
  return reply;
}

function showCall(reply) {
  const line = h("code", { id: "curl" }, curl(reply.request));
  const id = h("code", { id: "request-id" }, reply.requestId ?? "none");
  at("call").replaceChildren(
    ...(reply.roundTrip ? [h("h2", {}, "Time"), ...timeline(reply)] : []),
    h("div", { class: "bar" }, h("h2", {}, "The same with curl"), copyButton(line)),
    h("pre", { tabindex: "0", role: "region", "aria-label": "curl command" }, line),
    h("p", { class: "note" }, "Request id ", id));
  at("call").hidden = false;
}

function describe(model, release) {
  const facts = {
    model: `${model.name}, version ${model.version}`,
    task: words(model.task).replace("-", " "),
    release,
    "SHA-256": model.sha256 && h("code", { title: model.sha256 }, model.sha256.slice(0, 12)),
    ...group("measured when built", model.metrics),
    ...group("licence", model.licence),
    ...group("source", model.source),
  };
  const known = Object.entries(facts).filter(([, value]) => value !== undefined && value !== "");
  at("model").replaceChildren(
    h("h2", { id: "model-title" }, model.title),
    h("p", { class: "lead" }, model.description ?? ""),
    h("dl", {}, ...known.map(([name, value]) => h("div", {}, h("dt", {}, sentence(name)), h("dd", {}, value)))));
  at("model").hidden = false;
}

/** A group as one fact, {accuracy: 0.97, rows: 38}; an empty group gives none. */
function group(name, values) {
  const parts = Object.entries(values ?? {}).filter(([, value]) => value !== null && value !== "");
  const items = parts.map(([key, value]) => h("li", {}, h("small", {}, words(key)), " ", typeof value === "number" ? number(value) : value));
  return parts.length ? { [name]: h("ul", {}, ...items) } : {};
}

async function checkHealth() {
  const reply = await call("GET", "/readyz", undefined, {}, HEALTH_TIMEOUT);
  const state = reply.ok ? "ready" : reply.status ? "not ready" : "unreachable";
  const detail = (reply.body?.reasons ?? []).join("; ");
  const text = detail ? `${state}: ${detail}` : state;
  if (at("health").textContent !== text) {
    at("health").textContent = text; // a screen reader announces each change
    if (!mounted && !reply.ok) at("refusal").replaceChildren(errors({ ...reply, body: { title: `The service is ${state}`, detail } }));
  }
  at("health").dataset.state = state;
  if (reply.status && !mounted && !starting && (reply.ok || !introduced)) {
    // not awaited: it waits for the service and for a key, and polling goes on meanwhile
    starting = true;
    start().catch(failed).finally(() => (starting = false));
  }
}

/** Polls /readyz, only while the page is visible. */
function watchHealth() {
  let timer;
  const poll = async () => {
    clearTimeout(timer);
    if (document.hidden) return;
    await checkHealth();
    clearTimeout(timer);
    timer = setTimeout(poll, HEALTH_EVERY);
  };
  for (const event of ["visibilitychange", "online", "offline"]) window.addEventListener(event, poll);
  return poll();
}

/** A link cannot send an API key, so this one is fetched where a key is needed. */
at("metadata").addEventListener("click", async (event) => {
  if (!keyed()) return;
  event.preventDefault();
  const { body } = await call("GET", "/metadata");
  location.assign(URL.createObjectURL(new Blob([JSON.stringify(body, null, 2)], { type: "application/json" })));
});

await watchHealth();
