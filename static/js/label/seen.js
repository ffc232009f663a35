// Which answers were read to their end: the end of each text is marked, and noted once it was on the screen. An answer that
// needs no scrolling counts once it is shown. One behind the switch of a small screen, or covered, does not.

let slots = new Set();
let here = new Set(); // ends that are where they could be seen
let watch;

function note(end) {
  if (getComputedStyle(end).visibility === "visible") slots.add(end.dataset.end);
}

// What was uncovered in between is noted when it leaves the screen, or at last when the answer is sent.
function moved(entries) {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) here.add(target);
    if (here.has(target)) note(target);
    if (!isIntersecting) here.delete(target);
  }
}

export function open(task) {
  watch?.disconnect();
  slots = new Set();
  here = new Set();
  watch = new IntersectionObserver(moved);
  for (const end of task.querySelectorAll("[data-end]")) watch.observe(end);
}

// As the server reads it: places in the order shown.
export function sent() {
  moved(watch?.takeRecords() ?? []);
  here.forEach(note);
  return [...slots].sort().join(",");
}
