// Words that stand in one answer only, marked without touching the text (CSS Custom Highlight API).

const WORD = /[\p{L}\p{N}]+(?:['’_.-][\p{L}\p{N}]+)*|[^\s\p{L}\p{N}]/gu;
const MOST = 2500; // words of one answer; comparing longer ones would hold up the keys

export const possible = Boolean(globalThis.CSS?.highlights && globalThis.Highlight);

export function clear() {
  if (!possible) return;
  CSS.highlights.delete("only-a");
  CSS.highlights.delete("only-b");
}

// Marks what differs between two elements. Returns the number of marked words, or null when the texts are too long.
export function mark(first, second) {
  clear();
  const [a, b] = [wordsOf(first), wordsOf(second)];
  if (a.length > MOST || b.length > MOST) return null;
  const differing = unmatched(a.map((word) => word.text), b.map((word) => word.text));
  CSS.highlights.set("only-a", new Highlight(...differing.a.map((index) => a[index].range())));
  CSS.highlights.set("only-b", new Highlight(...differing.b.map((index) => b[index].range())));
  return differing.a.length + differing.b.length;
}

function wordsOf(element) {
  const words = [];
  const walk = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    for (const match of node.data.matchAll(WORD)) {
      const [text] = match;
      const start = match.index;
      words.push({
        text,
        range: () => {
          const range = document.createRange();
          range.setStart(node, start);
          range.setEnd(node, start + text.length);
          return range;
        },
      });
    }
  }
  return words;
}

// Indices of the words outside a longest common subsequence, by the table of all suffixes (two texts that share little
// are the usual case here, where searching along diagonals is slower).
export function unmatched(a, b) {
  const width = b.length + 1;
  const longest = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const at = i * width + j;
      longest[at] = a[i] === b[j] ? longest[at + width + 1] + 1 : Math.max(longest[at + width], longest[at + 1]);
    }
  }
  const found = { a: [], b: [] };
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    const at = i * width + j;
    if (a[i] === b[j]) { i += 1; j += 1; }
    else if (longest[at + width] >= longest[at + 1]) found.a.push(i++);
    else found.b.push(j++);
  }
  while (i < a.length) found.a.push(i++);
  while (j < b.length) found.b.push(j++);
  return found;
}
