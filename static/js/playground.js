// The playground: sends the form to its stream address and shows tokens as they come. Without it the form posts as a page.

import { events } from "./events.js";
import { gettext } from "./words.js";

const form = document.getElementById("playground");
const list = form.querySelector(".talk");
const message = form.elements.message;
const history = JSON.parse(form.elements.history.value).map(({ role, content }) => ({ role, content }));

function turn(role, text) {
  const item = document.createElement("li");
  item.className = role;
  const body = document.createElement("div");
  body.className = "material pre-wrap";
  body.dir = "auto";
  body.lang = "";
  body.textContent = text;
  item.append(body);
  list.append(item);
  item.scrollIntoView({ block: "nearest" });
  return body;
}

function trouble(text) {
  const place = document.getElementById("trouble");
  place.replaceChildren();
  if (!text) return;
  const notice = document.createElement("p");
  notice.className = "notice warn";
  notice.setAttribute("role", "alert");
  notice.textContent = gettext("%(trouble)s Your message is still here.", { trouble: text });
  place.append(notice);
}

async function failure(response) {
  try {
    const told = await response.json();
    return told.problems?.map((one) => one.message).join(" ") || told.message;
  } catch {
    return gettext("The model did not answer.");
  }
}

async function send() {
  const text = message.value.trim();
  if (!text) return;
  const data = new FormData(form);
  data.set("history", JSON.stringify(history));
  trouble("");
  form.setAttribute("aria-busy", "true");
  const asked = turn("user", text);
  const body = turn("assistant", "");
  try {
    const response = await fetch(form.dataset.stream, { method: "POST", body: data, headers: { Accept: "application/json, text/event-stream" } });
    if (!response.ok) throw new Error(await failure(response));
    let name = "";
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message ?? String(event.error));
      name = event.model ?? name;
      body.textContent += event.choices?.[0]?.delta?.content ?? "";
    }
    history.push({ role: "user", content: text }, { role: "assistant", content: body.textContent });
    const caption = document.createElement("span");
    caption.className = "caption";
    caption.textContent = name;
    body.after(caption);
    message.value = "";
  } catch (error) {
    asked.parentElement.remove();
    body.parentElement.remove();
    trouble(error.message);
  } finally {
    form.removeAttribute("aria-busy");
    message.focus();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (form.getAttribute("aria-busy") !== "true") send();
});

message.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
