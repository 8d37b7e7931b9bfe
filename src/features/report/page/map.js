// The page of the map of all features.
"use strict";

{
  /** The map, with a feature marked if one is given. */
  monosem.mapView = (marked) => {
    const { el } = monosem;
    const { description } = monosem.all;
    if (!monosem.all.map) {
      const missing = description.missing.filter((words) => /neighbo/i.test(words));
      return el(
        "div",
        { class: "prose" },
        el("h1", {}, "No map"),
        el("p", {}, "A map needs the neighbours of the features, and this set has none."),
        missing.map((words) => el("p", {}, words)),
      );
    }
    const frame = el("div", { class: "map" });
    const scatter = monosem.scatter(frame, { name: `Map of ${monosem.whole(monosem.all.features)} features` });
    monosem.map = scatter;
    if (marked !== null) scatter.highlight(marked, []);
    const button = (sign, name, action) =>
      el("button", { type: "button", "aria-label": name, on: { click: action } }, sign);
    frame.append(
      el(
        "div",
        { class: "map-keys" },
        button("+", "Zoom in", () => scatter.zoom(1.6)),
        button("−", "Zoom out", () => scatter.zoom(1 / 1.6)),
        button("⤢", "Whole map", scatter.reset),
      ),
      el(
        "div",
        { class: "map-legend" },
        el("span", {}, "rare"),
        el(
          "span",
          { class: "ramp", "aria-hidden": "true" },
          Array.from({ length: monosem.points.shades }, (_, level) => el("i", { class: `level-${level + 1}` })),
        ),
        el("span", {}, "frequent"),
      ),
    );
    return el(
      "div",
      { class: "map-page" },
      frame,
      el(
        "p",
        { class: "quiet note-line" },
        "Neighbours by cosine of the decoder rows lie close together. Distances far apart and the axes mean nothing.",
      ),
    );
  };
}
