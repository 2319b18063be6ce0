// Building blocks of the page and of the patterns' panels. Importing has no effect.

/** An element: h("p", {class: "note", onclick: act}, "text", child). Strings become text, never markup. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/** "petal_width" -> "petal width" */
export const words = (name) => String(name).replaceAll("_", " ");

/** "petal width" -> "Petal width" */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Four significant digits, no trailing zeros: 0.9736842 -> "0.9737", 38 -> "38"; what is no number as it is. */
export const number = (value) => String(value?.toPrecision ? Number(value.toPrecision(4)) : value);

export const percent = (share) => `${(share * 100).toFixed(1)} %`;

/** Milliseconds with at most three digits after the point: 0.042 -> "0.042 ms", 12.34 -> "12.3 ms". */
export function milliseconds(value) {
  const digits = value < 1 ? 3 : value < 10 ? 2 : value < 100 ? 1 : 0;
  return `${value.toFixed(digits)} ms`;
}

const SLOT = `API key of ${location.pathname}`;
let key = storage(() => sessionStorage.getItem(SLOT));

/** Keeps an API key for this tab. */
export const keepKey = (given) => storage(() => sessionStorage.setItem(SLOT, (key = given)));

/** Whether this tab has a key, or asks for one. */
export const keyed = () => Boolean(key || document.getElementById("key"));

function storage(act) {
  // where the browser allows no storage, the key is lost with the page
  try {
    return act();
  } catch {}
}

/** `fetch` with the API key of this tab. On 401 it asks for a key, then sends the request again. */
export async function send(request, timeout = 60_000) {
  const [sent, began] = [key, performance.now()];
  const headers = sent ? { ...request.headers, Authorization: `Bearer ${sent}` } : request.headers;
  const response = await fetch(request.url, { ...request, headers, signal: AbortSignal.timeout(timeout) });
  if (response.status !== 401) return { response, began };
  if (sent === key) {
    const { detail, error } = parsed(await response.text()) ?? {};
    await (await import("./key.js")).askForKey(sent ? detail ?? error : "This service needs an API key.");
  }
  return send(request, timeout);
}

/**
 * Sends and times one request. `body` is a JSON value, or a Blob that is sent unchanged. Never throws: without a
 * response within `timeout` ms the reply has status 0.
 */
export async function call(method, path, body, headers = {}, timeout = 60_000) {
  const request = prepare(method, path, body, headers);
  try {
    const { response, began } = await send(request, timeout);
    const text = await response.text();
    const roundTrip = performance.now() - began;
    return {
      request, roundTrip, ok: response.ok, status: response.status, headers: response.headers, body: parsed(text),
      stages: timings(response.headers.get("server-timing") ?? ""),
      requestId: response.headers.get("x-request-id"),
    };
  } catch (error) {
    const body = { title: "No response", detail: `The service did not respond: ${error.message}.` };
    return { request, body, ok: false, status: 0, headers: new Headers(), stages: [], requestId: null };
  }
}

function prepare(method, path, body, headers) {
  const url = new URL(path.replace(/^\//, ""), document.baseURI).href;
  const blob = body instanceof Blob;
  const type = body === undefined ? {} : { "Content-Type": blob ? body.type : "application/json" };
  return { method, url, body: blob ? body : JSON.stringify(body), headers: { ...type, ...headers } };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The stages in a Server-Timing header: `parse;dur=0.1, model;dur=2;desc="the model"` -> [{name, label, duration}]. */
export function timings(header) {
  const entries = header.match(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g) ?? [];
  return entries.map((entry) => {
    const name = entry.split(";")[0].trim();
    const label = entry.match(/;\s*desc\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))/i);
    const duration = entry.match(/;\s*dur\s*=\s*"?([\d.]+)/i);
    return { name, label: label ? label[1]?.replace(/\\(.)/g, "$1") ?? label[2] : words(name), duration: Number(duration?.[1] ?? 0) };
  });
}

/** The shell command for the same request; sample files are named from the repository's root. */
export function curl({ method, url, headers, body }) {
  const implied = body === undefined ? "GET" : "POST"; // curl's default
  const lines = [`curl -sS ${method === implied ? "" : `-X ${method} `}${quoted(url)}`];
  for (const [name, value] of Object.entries(headers)) lines.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (key) lines.push('-H "Authorization: Bearer $API_KEY"');
  if (body instanceof Blob) lines.push(`--data-binary ${quoted(`@${body.path ?? body.name ?? "file"}`)}`);
  else if (body !== undefined) lines.push(`-d ${quoted(body)}`);
  return lines.join(" \\\n  ");
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Shows shares as bars in `list` (an <ol>); keeps the rows, so that changes are animated. */
export function bars(list, entries) {
  while (list.children.length > entries.length) list.lastChild.remove();
  while (list.children.length < entries.length) list.append(meter("", h("i"), ""));
  const largest = Math.max(...entries.map((entry) => entry.share));
  entries.forEach(({ label, share }, index) => {
    const [name, track, value] = list.children[index].children;
    name.textContent = label;
    value.textContent = percent(share);
    track.firstChild.style.width = `${share * 100}%`;
    list.children[index].classList.toggle("first", share === largest);
  });
}

const meter = (label, bar, value) =>
  h("li", {}, h("span", {}, label), h("span", { class: "track", "aria-hidden": "true" }, bar), h("b", {}, value));

/** The named columns of a model's rows, as POST /predict takes them; empty for a model that takes tensors. */
export function columns(inputs) {
  const of = ({ name, datatype, shape, missing, features = [] }) =>
    features.length && shape[0] < 0 ? features.map((one) => ({ ...one, datatype, missing, input: name }))
      : inputs[1] && /^-1(,1)?$/.test(shape) ? [{ name, datatype, missing, input: name }] : [];
  const found = inputs.filter(({ optional }) => !optional).map(of);
  return found.every((one) => one.length) ? found.flat() : [];
}

/** The values of an example in the order of the columns, whichever way the manifest gives them; undefined if it is not one row. */
export function row({ features, inputs = {} }, columns) {
  const given = [...new Set(columns.map(({ input }) => input))].flatMap((name) => [inputs[name] ?? []].flat(Infinity));
  const values = !features ? given : Array.isArray(features) ? features : columns.map(({ name }) => features[name]);
  return values.length === columns.length ? values : undefined;
}

/** An error reply, readably: problem+json, {"error": text} or plain text. */
export function errors(reply) {
  const { title, detail, error, errors: fields = [] } = typeof reply.body === "object" ? reply.body ?? {} : {};
  const wait = reply.headers.get("retry-after");
  const text = detail ?? error ?? (typeof reply.body === "string" ? reply.body.slice(0, 400) : "");
  const reasons = fields.map(({ field, reason }) => h("li", {}, h("code", {}, field), " ", reason));
  return h("div", { class: "refusal" },
    h("p", {}, h("b", {}, title ?? "The request failed"), reply.status ? ` (${reply.status})` : ""),
    reasons.length ? h("ul", {}, ...reasons) : h("p", {}, text),
    wait && h("p", {}, `Retry in ${wait} s.`));
}

/** The time of one call: the round trip, then the server's stages in order. */
export function timeline({ roundTrip, stages }) {
  const parts = stages.filter((stage) => stage.name !== "total");
  const spent = parts.reduce((sum, stage) => sum + stage.duration, 0);
  const server = Math.max(spent, stages.find((stage) => stage.name === "total")?.duration ?? 0);
  const whole = Math.max(roundTrip, server);
  let start = 0;
  const rows = parts.map(({ label, duration }) => {
    const row = span(label, start, duration, server);
    start += duration;
    return row;
  });
  if (rows.length) rows.push(span("other", start, server - spent, server, "rest"));
  return [
    h("ol", { class: "meters spans" }, span("round trip", 0, roundTrip, whole, "rest"), server ? span("server", 0, server, whole) : null),
    rows.length > 1 ? h("h3", {}, "Inside the server") : null,
    rows.length > 1 ? h("ol", { class: "meters spans" }, ...rows) : null,
  ].filter(Boolean);
}

function span(label, start, duration, whole, kind = "") {
  const bar = h("i", { class: kind });
  bar.style.marginLeft = `${(100 * start) / whole}%`;
  bar.style.width = `${(100 * duration) / whole}%`;
  return meter(label, bar, milliseconds(duration));
}

/** A button that copies the text of `source`; without a clipboard (plain http) it selects it. */
export function copyButton(source) {
  const button = h("button", { type: "button", class: "quiet" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  return button;
}

/** Calls `act` `pause` ms after the last change, one call at a time; changes meanwhile cause one more. */
export function debounced(act, pause = 80) {
  let timer, running = false, again = false;
  const run = async () => {
    if (running) return (again = true);
    running = true;
    do {
      again = false;
      await act();
    } while (again);
    running = false;
  };
  return () => {
    clearTimeout(timer);
    timer = setTimeout(run, pause);
  };
}
