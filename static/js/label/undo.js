// The person's newest act, taken back: here, if it was not sent yet, else by the server.

import { toast } from "./around.js";
import { gettext } from "../words.js";

// {local: entry} or what the server says; null where nothing was taken back, and why was said.
export async function takeBack(outbox) {
  const local = outbox.takeBack();
  if (local) {
    toast(gettext("Taken back. It had not been sent yet."));
    return { local };
  }
  await outbox.now();
  if (outbox.entries().length) return no(gettext("Undo needs the server, and it cannot be reached. Your answers are kept."));
  const response = await outbox.post("undo", {}).catch(() => null);
  if (!response) return no(gettext("The server did not answer. Nothing was taken back."));
  if (response.status === 401) { await outbox.check(); return null; }
  if (!response.ok) return no(gettext("The server could not take it back. Try again."));
  const body = await response.json();
  toast(body.said);
  return body;
}

function no(words) {
  toast(words);
  return null;
}
