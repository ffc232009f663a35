// What scripts say, in the language of the page. The server puts the sentences that they need into it (app/web/words.py),
// under their English words; an English page needs none.

const block = document.getElementById("words");
const said = block ? JSON.parse(block.textContent) : {};
const plural = new Intl.PluralRules(document.documentElement.lang || "en");

// Which way "first" lies: 1 where the page runs from left to right, -1 where it runs the other way. An arrow means what it
// points at, so whoever counts from the first one multiplies by this.
export const onward = document.documentElement.dir === "rtl" ? -1 : 1;

function fill(words, values) { return words.replace(/%\((\w+)\)s/g, (place, name) => values[name] ?? place); }

export function gettext(words, values = {}) { return fill(said[words] ?? words, values); }

// The same for a sentence that depends on a number, which it names as %(n)s.
export function ngettext(one, many, count, values = {}) {
  return fill(said[one]?.[plural.select(count)] ?? (count === 1 ? one : many), { n: count, ...values });
}
