/* Elements from names, attributes and children. Text only ever becomes text nodes or attribute values. */
const NO_CHILD = new Set([null, undefined, false]);
const filled = (element, given, children) => {
  for (const [key, value] of Object.entries(given)) if (!NO_CHILD.has(value)) element.setAttribute(key, value === true ? "" : value);
  element.append(...children.filter((child) => !NO_CHILD.has(child)));
  return element;
};
const make = (name, given = {}, ...children) => filled(document.createElement(name), given, children);
const draw = (name, given = {}, ...children) => filled(document.createElementNS("http://www.w3.org/2000/svg", name), given, children);
const byId = (id) => document.getElementById(id);

/* Numbers with three figures and true minus signs. */
const short = (x) => {
  const size = Math.abs(x);
  if (x === 0) return "0";
  return (size < 1e-3 || size >= 1e5 ? x.toExponential(1).replace("e+", "e") : String(Number(x.toPrecision(3)))).replaceAll("-", "−");
};
const signed = (x) => (x > 0 ? "+" : "") + short(x);

/* A token as it can be seen: line breaks, blanks and marks that would be invisible, or turn the text round, by name. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
const code = (mark) => "⟨" + mark.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩";
const seen = (word) => {
  if (word === "") return "∅";
  const text = word.replaceAll("\r", "").replaceAll("\n", "↵").replaceAll("\t", "⇥").replace(UNSEEN, code);
  return /^ +$/.test(text) ? "␣".repeat(text.length) : text;
};
/* Running text: line breaks stay. */
const readable = (text) => text.replaceAll("\r", "").replace(UNSEEN, code);
