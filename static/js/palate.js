// Every admin page: the CSRF header for htmx, one-key page commands, dialogs, and "copy" buttons.
// htmx event names stand only in this file.

document.addEventListener("htmx:configRequest", (event) => {
  const token = document.querySelector('meta[name="csrf-token"]')?.content;
  if (token) event.detail.headers["X-CSRF-Token"] = token;
});

document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr } = event.detail;
  if (xhr.status === 401) location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
});

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) {
    event.preventDefault();
    document.getElementById(opener.dataset.opens)?.showModal();
  }
  if (event.target.closest("[data-closes]")) event.target.closest("dialog")?.close();
  const copy = event.target.closest("[data-copies]");
  if (copy) copyFrom(copy);
  const show = event.target.closest("[data-shows]");
  if (show) showPassword(show);
});

async function copyFrom(button) {
  const source = document.getElementById(button.dataset.copies);
  await navigator.clipboard.writeText(source.value ?? source.textContent.trim());
  const words = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = words; }, 2000);
}

function showPassword(button) {
  const input = document.getElementById(button.dataset.shows);
  input.type = input.type === "password" ? "text" : "password";
  button.textContent = input.type === "password" ? "Show" : "Hide";
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, textarea, select")) return;
  const filter = document.querySelector("[data-filter]");
  if (filter) {
    event.preventDefault();
    filter.focus();
  }
});

const first = document.querySelector('[aria-invalid="true"]');
if (first) first.focus();
