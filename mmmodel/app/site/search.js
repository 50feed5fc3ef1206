// Finds the sections in which every word of the question begins a word. The index is a script beside this one, so that it
// can be read from a file: address too.
"use strict";
const plain = text => text.toLowerCase().normalize("NFKD").replace(/[\u0300-\u036f]/g, "");
const words = plain(new URLSearchParams(location.search).get("q") || "").match(/[\p{L}\p{N}_.-]+/gu) || [];
const counts = (text, word) => text.split(/[^\p{L}\p{N}_.-]+/u).filter(other => other.startsWith(word)).length;

function score(entry) {
  const [head, text] = [plain(entry.title + " " + entry.heading), plain(entry.text)];
  const found = words.map(word => 10 * counts(head, word) + Math.min(5, counts(text, word)));
  return found.every(Boolean) ? found.reduce((a, b) => a + b, 0) : 0;
}

function snippet(entry) {
  const at = Math.max(0, plain(entry.text).indexOf(words[0]) - 80);
  const line = document.createElement("p");
  const rule = new RegExp("(" + words.map(word => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|") + ")", "iu");
  entry.text.slice(at, at + 260).split(rule).forEach((piece, n) => {
    const part = n % 2 ? document.createElement("mark") : document.createElement("span");
    part.textContent = piece;
    line.append(part);
  });
  return line;
}

function show(entry) {
  const [item, link] = [document.createElement("li"), document.createElement("a")];
  link.href = entry.page + "#" + encodeURIComponent(entry.anchor);
  link.textContent = entry.heading === entry.title ? entry.title : entry.title + ": " + entry.heading;
  item.append(link, snippet(entry));
  return item;
}

if (words.length) {
  document.getElementById("q").value = words.join(" ");
  const found = searchIndex.map(entry => [score(entry), entry]).filter(([n]) => n).sort((a, b) => b[0] - a[0]);
  document.getElementById("count").textContent = found.length
    ? found.length + (found.length === 1 ? " section" : " sections") + " found." : "Nothing was found.";
  document.getElementById("results").append(...found.slice(0, 40).map(([, entry]) => show(entry)));
}
