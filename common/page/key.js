// The form that asks for an API key; loaded when a service wants one. Importing has no effect.
import { h, keepKey } from "./parts.js";

let given; // resolved with the next key; all requests that were refused wait for it

/** Asks for a key, for this tab only. `reason` is why the last one was refused. */
export function askForKey(reason) {
  given ??= new Promise((resolve) => {
    const box = h("input", {
      id: "key", type: "password", autocomplete: "off", required: true, pattern: "\\s*[!-~]+\\s*", title: "letters, digits and signs, without spaces",
    });
    const take = (event) => {
      event.preventDefault();
      given = undefined;
      form.remove();
      resolve(keepKey(box.value.trim()));
    };
    const form = h("form", { class: "card key", onsubmit: take },
      h("label", { for: "key" }, "API key"), box, h("button", { type: "submit", class: "primary" }, "Use this key"),
      h("p", { class: "note", role: "alert" }, reason), h("p", { class: "note" }, "It is kept in this tab until you close it."));
    document.querySelector("main").before(form);
    box.focus();
  });
  return given;
}
