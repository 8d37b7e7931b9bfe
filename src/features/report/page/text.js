// Elements, and text from data made visible. Nothing here makes markup of text.
"use strict";

const monosem = {};

/** An element with attributes (`on`: listeners, `vars`: custom properties) and children. */
monosem.el = (name, attributes = {}, ...children) => {
  const svg = ["svg", "rect", "line", "g", "text", "title"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (key === "vars") {
      for (const [variable, set] of Object.entries(value)) element.style.setProperty(variable, set);
    } else if (value === true) {
      element.setAttribute(key, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(key, value);
    }
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined));
  return element;
};

// Controls, marks of direction, and characters without width: each is shown by its number.
const UNSEEN =
  "\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180e\\u200b\\u200e\\u200f" +
  "\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0d\\ufeff\\ufff9-\\ufffb\\u{e0000}-\\u{e0fff}";
// Emoji and scripts that join letters need these within a text; alone they would not be seen.
const JOINERS = "\\u200c\\u200d\\ufe0e\\ufe0f";
const ONLY_JOINERS = new RegExp(`^[${JOINERS}]+$`, "u");
const ALONE = new RegExp(`[${UNSEEN}${JOINERS}]`, "gu");
const WITHIN = new RegExp(`[${UNSEEN}]`, "gu");
const unseenIn = (text) => (ONLY_JOINERS.test(text) ? ALONE : WITHIN);
const SIGNS = { "\n": "↵", "\t": "⇥", "\r": "␍", "\0": "␀" };

const signOf = (character) =>
  SIGNS[character] ?? "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");

/** Text of the data, or its beginning and its length, as plain text for attributes. */
monosem.plain = (shown) => {
  const text = typeof shown === "string" ? shown : shown.start;
  const escaped = text.replace(unseenIn(text), (character) =>
    SIGNS[character] ? signOf(character) : `‹${signOf(character)}›`,
  );
  return typeof shown === "string" ? escaped : `${escaped}… (${monosem.whole(shown.characters)} characters)`;
};

/** The same as nodes, with what cannot be seen set apart. */
monosem.visible = (shown) => {
  const { el } = monosem;
  const text = typeof shown === "string" ? shown : shown.start;
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(unseenIn(text))) {
    if (match.index > end) nodes.push(text.slice(end, match.index));
    nodes.push(el("span", { class: "sign" }, signOf(match[0])));
    end = match.index + match[0].length;
  }
  if (end < text.length) nodes.push(text.slice(end));
  if (typeof shown !== "string") {
    nodes.push(el("span", { class: "sign" }, `… ${monosem.whole(shown.characters)} characters`));
  }
  return nodes;
};

const dotted = (spaces) => "·".repeat(spaces.length);

/** A token as a small box: its spaces show, and it is isolated from the text around it. */
monosem.token = (shown, attributes = {}) => {
  if (shown === undefined || shown === null || shown === "")
    return monosem.el("span", { class: "token none" }, "empty");
  const nodes = monosem
    .visible(shown)
    .map((node) => (typeof node === "string" ? node.replace(/^ +| +$/g, dotted) : node));
  return monosem.el("bdi", { class: "token", ...attributes }, nodes);
};

/** Text as it is compared when something is searched. */
monosem.folded = (shown) => (typeof shown === "string" ? shown : shown.start).toLowerCase();

/** 12345 as 12,345. */
monosem.whole = (number) => number.toLocaleString("en-US");

/** A number to so many significant digits, in powers of ten where it is far from 1. */
monosem.figure = (number, digits = 3) => {
  if (number === 0 || !Number.isFinite(number)) return String(number);
  const size = Math.abs(number);
  if (size >= 1e6 || size < 1e-3) {
    const [mantissa, exponent] = number.toExponential(digits - 1).split("e");
    const raised = exponent.replace("+", "").replace(/[-0-9]/g, (sign) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign] ?? "⁻");
    return `${mantissa}·10${raised}`.replace("-", "−");
  }
  return number.toPrecision(Math.max(digits, Math.ceil(Math.log10(size + 1)))).replace("-", "−");
};

/** A share of all tokens. */
monosem.density = (share) => {
  if (share === 0) return "dead";
  const percent = share * 100;
  return percent >= 0.001 ? `${percent.toPrecision(3)} %` : `${monosem.figure(share)}`;
};

/** One text beside the pointer or the focus; it follows neither. */
monosem.tip = {
  show(nodes, rectangle) {
    const tip = document.getElementById("tip");
    tip.replaceChildren(...nodes);
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.max(6, Math.min(rectangle.left + rectangle.width / 2 - width / 2, innerWidth - width - 6));
    const above = rectangle.top - height - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above < 6 ? rectangle.bottom + 8 : above}px`;
  },
  hide() {
    document.getElementById("tip").hidden = true;
  },
};
