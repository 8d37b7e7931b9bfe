// Small charts, drawn as SVG.
"use strict";

/**
 * Bars of one width: `bars` are { value, label }, their heights those of log(1 + value) or of value. `ticks` are
 * { at, text } in bars from the left.
 */
monosem.bars = (bars, ticks, { height = 96, logarithmic = true, name = "" } = {}) => {
  const { el } = monosem;
  const width = 320;
  const heightOf = (value) => (logarithmic ? Math.log1p(value) : value);
  const highest = Math.max(...bars.map((bar) => heightOf(bar.value)), 1e-9);
  const step = width / bars.length;
  const rectangles = bars.map(({ value, label }, at) => {
    const size = value > 0 ? Math.max(1.5, (height * heightOf(value)) / highest) : 0;
    const show = (event) => monosem.tip.show([label], event.currentTarget.getBoundingClientRect());
    return el(
      "g",
      { class: "bar", on: { pointerenter: show, pointerleave: monosem.tip.hide } },
      el("rect", { class: "hit", x: at * step, y: 0, width: step, height }),
      el("rect", { class: "fill", x: at * step + 0.5, y: height - size, width: Math.max(0.5, step - 1), height: size }),
    );
  });
  const labels = ticks.map(({ at, text }) => {
    const x = at * step;
    const anchor = x < 14 ? "start" : x > width - 14 ? "end" : "middle";
    return [
      el("line", { class: "tick", x1: x, x2: x, y1: height, y2: height + 4 }),
      el("text", { x, y: height + 17, "text-anchor": anchor }, text),
    ];
  });
  return el(
    "svg",
    { class: "bars", viewBox: `0 0 ${width} ${height + 22}`, role: "img", "aria-label": name },
    el("line", { class: "axis", x1: 0, x2: width, y1: height, y2: height }),
    rectangles,
    labels,
  );
};

/** The bars of a feature's activations, between powers of two. */
monosem.activationHistogram = (entry, edges) => {
  const { figure, whole } = monosem;
  const counts = entry.histogram;
  const used = counts.map((count, at) => (count > 0 ? at : -1)).filter((at) => at >= 0);
  if (used.length === 0 || edges.length < 2) return null;
  // One edge more than bars, or one less where the outermost bars are open.
  const open = edges.length < counts.length ? 1 : 0;
  const edge = (at) => edges[at - open];
  const [first, last] = [Math.max(0, used[0] - 1), Math.min(counts.length, used.at(-1) + 2)];
  const value = (at) => (edge(at) === undefined ? null : figure(2 ** edge(at)));
  const bars = counts.slice(first, last).map((count, at) => {
    const [from, to] = [value(first + at), value(first + at + 1)];
    const range = from === null ? `below ${to}` : to === null ? `${from} and more` : `${from} to ${to}`;
    return { value: count, label: `${range}: ${whole(count)}` };
  });
  const every = Math.max(1, Math.ceil(bars.length / 5));
  const ticks = [];
  for (let at = 0; at <= bars.length; at += every) {
    if (value(first + at) !== null) ticks.push({ at, text: figure(2 ** edge(first + at), 2) });
  }
  return monosem.bars(bars, ticks, { name: "Histogram of the feature's activations, both axes logarithmic" });
};

/** Rows of a name, a bar and a value. */
monosem.barRows = (rows, attributes = {}) => {
  const { el } = monosem;
  const largest = Math.max(...rows.map((row) => Math.abs(row.value)), 1e-30);
  return el(
    "ul",
    { class: "bar-rows", ...attributes },
    rows.map(({ name, value, shown }) =>
      el(
        "li",
        {},
        el("span", { class: "name" }, name),
        el(
          "span",
          { class: "track", "aria-hidden": "true" },
          el("span", {
            class: value < 0 ? "length negative" : "length",
            vars: { "--length": Math.abs(value) / largest },
          }),
        ),
        el("span", { class: "number" }, shown),
      ),
    ),
  );
};
