// What somebody typed or ticked and has not sent: kept on every key, so that a reload loses nothing.

const name = (task) => `palate-draft:${task.key}`;

function inputsOf(task) { return [...task.form.elements].filter((one) => one.name && one.type !== "hidden" && !one.matches("button, fieldset")); }

export function keep(task) {
  const kept = JSON.parse(sessionStorage.getItem(name(task)) ?? "{}");
  for (const input of inputsOf(task)) {
    const value = kept[input.name];
    if (value === undefined) continue;
    if (["radio", "checkbox"].includes(input.type)) input.checked = input.value === value;
    else input.value = value;
  }
  const store = () => {
    const now = {};
    for (const input of inputsOf(task)) {
      if (!["radio", "checkbox"].includes(input.type)) now[input.name] = input.value;
      else if (input.checked) now[input.name] = input.value;
    }
    sessionStorage.setItem(name(task), JSON.stringify(now));
  };
  task.read.addEventListener("input", store);
  task.form.addEventListener("input", store);
}

export function drop(task) { sessionStorage.removeItem(name(task)); }
