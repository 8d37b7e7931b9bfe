// The page that lists features.
"use strict";

{
  const { el, whole } = monosem;
  const PAGE = 50;

  const address = (query, changes) => {
    const all = { ...query, ...changes };
    const given = Object.entries(all).filter(([, value]) => value !== "" && value !== null && value !== undefined);
    const text = new URLSearchParams(given).toString();
    return text ? `#/?${text}` : "#/";
  };
  monosem.listAddress = address;

  const row = (feature, found) => {
    const { density, maximum } = monosem.all;
    const share = density[feature];
    const why =
      found?.by === "text"
        ? el("bdi", { class: "snippet" }, "“", monosem.visible(found.text), "”")
        : found?.by === "token" && !monosem.topTexts(feature).includes(found.text)
          ? el("span", { class: "why" }, "also ", monosem.token(found.text))
          : null;
    return el(
      "li",
      {},
      el(
        "a",
        { class: "row", href: `#/feature/${feature}` },
        el("span", { class: "number" }, whole(feature)),
        el("span", { class: "what" }, monosem.title(feature), why),
        el("span", { class: "density" }, monosem.density(share)),
        el(
          "span",
          { class: "meter", "aria-hidden": "true" },
          el("span", { vars: { "--length": share > 0 ? Math.max(0.02, 1 + Math.log10(share) / 7) : 0 } }),
        ),
        el("span", { class: "number maximum" }, maximum[feature] > 0 ? monosem.figure(maximum[feature]) : "–"),
      ),
    );
  };

  const densityChart = (query) => {
    const { density } = monosem.all;
    const [lowest, bins] = [-7, 28];
    const counts = new Array(bins).fill(0);
    let dead = 0;
    for (const share of density) {
      if (share === 0) dead++;
      else counts[Math.max(0, Math.min(bins - 1, Math.floor((Math.log10(share) - lowest) * 4)))]++;
    }
    const edge = (at) => 10 ** (lowest + at / 4);
    const bars = counts.map((value, at) => ({
      value,
      label: `${monosem.density(edge(at))} to ${monosem.density(edge(at + 1))}: ${whole(value)} features`,
    }));
    const first = Math.max(0, counts.findIndex((count) => count > 0) - 1);
    const from = Math.floor(first / 4) * 4;
    const ticks = [];
    for (let at = from; at <= bins; at += bins - from > 16 ? 8 : 4)
      ticks.push({ at: at - from, text: `${Number((100 * edge(at)).toPrecision(1))} %` });
    const chart = monosem.bars(bars.slice(from), ticks, {
      height: 72,
      logarithmic: false,
      name: "Features by density",
    });
    const toShare = (event) => {
      const box = chart.getBoundingClientRect();
      const at = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
      return from + Math.round(at * (bins - from));
    };
    let start = null;
    chart.addEventListener("pointerdown", (event) => {
      start = toShare(event);
      chart.setPointerCapture(event.pointerId);
    });
    chart.addEventListener("pointerup", (event) => {
      const end = toShare(event);
      if (start === null || start === end) return;
      const [low, high] = [Math.min(start, end), Math.max(start, end)].map((at) => edge(at).toPrecision(3));
      location.hash = address(query, { min: low, max: Number(high) >= 1 ? "" : high, page: "" });
    });
    chart.classList.add("choosable");
    return [chart, dead];
  };

  const rangeForm = (query) => {
    const field = (name, label, placeholder) =>
      el(
        "label",
        {},
        label,
        el("input", {
          type: "text",
          inputmode: "decimal",
          name,
          value: query[name] ?? "",
          placeholder,
          on: {
            change: (event) => {
              location.hash = address(query, { [name]: event.target.value.trim(), page: "" });
            },
          },
        }),
      );
    return el(
      "div",
      { class: "range" },
      field("min", "from", "0"),
      field("max", "to", "1"),
      query.min || query.max ? el("a", { href: address(query, { min: "", max: "", page: "" }) }, "any density") : null,
    );
  };

  const about = () => {
    const { description, features } = monosem.all;
    const { sae } = description;
    const text = (value) =>
      value === null || value === undefined
        ? null
        : el(
            "bdi",
            {},
            monosem.visible(monosem.cut(typeof value === "object" ? JSON.stringify(value) : String(value))),
          );
    const rows = [
      ["Model", sae.model_name],
      ["Hook", sae.hook_name],
      ["Architecture", sae.architecture],
      ["k", sae.k],
      ["d_in", sae.d_in],
      ["Features", whole(features)],
      ["Tokens", whole(description.tokens)],
    ];
    return el(
      "dl",
      { class: "about" },
      rows
        .filter(([, value]) => value !== null && value !== undefined)
        .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, text(value)))),
    );
  };

  const panel = (query) => {
    const [chart, dead] = densityChart(query);
    return el(
      "aside",
      { class: "panel" },
      about(),
      el(
        "section",
        {},
        el("h2", {}, "Density"),
        chart,
        rangeForm(query),
        el(
          "p",
          { class: "quiet" },
          `${whole(dead)} of ${whole(monosem.all.features)} features are active on no token.`,
        ),
      ),
      monosem.all.description.missing.length === 0
        ? null
        : el(
            "section",
            {},
            el("h2", {}, "Not in this set"),
            el(
              "ul",
              { class: "missing" },
              monosem.all.description.missing.map((words) => el("li", {}, monosem.visible(monosem.cut(words)))),
            ),
          ),
    );
  };

  const pager = (query, page, pages) =>
    pages < 2
      ? null
      : el(
          "nav",
          { class: "pager", "aria-label": "Pages" },
          page > 0
            ? el("a", { rel: "prev", href: address(query, { page: page || "" }) }, "← Previous")
            : el("span", {}),
          el("span", { class: "quiet" }, `${whole(page + 1)} of ${whole(pages)}`),
          page + 1 < pages
            ? el("a", { rel: "next", href: address(query, { page: page + 2 }) }, "Next →")
            : el("span", {}),
        );

  /** The page of the list. */
  monosem.listView = async (query) => {
    const { order, matches, isWhole } = await monosem.found(query);
    const pages = Math.max(1, Math.ceil(order.length / PAGE));
    const page = Math.max(0, Math.min(pages - 1, Math.floor(Number(query.page) || 1) - 1));
    const rows = Array.from(order.subarray(page * PAGE, (page + 1) * PAGE), (feature) =>
      row(feature, matches?.get(feature)),
    );
    const current = query.sort || (matches ? "found" : "number");
    const sorts = [
      ["number", "Number"],
      ["density", "Most frequent"],
      ["rare", "Rarest"],
      ["maximum", "Maximum"],
    ];
    if (matches) sorts.unshift(["found", "Best match"]);
    const select = el(
      "select",
      {
        on: {
          change: (event) => {
            location.hash = address(query, { sort: event.target.value, page: "" });
          },
        },
      },
      sorts.map(([value, name]) => el("option", { value, selected: value === current }, name)),
    );
    const scanning =
      matches && !isWhole && monosem.all.description.has?.text !== false
        ? el(
            "button",
            { type: "button", class: "scan", on: { click: (event) => monosem.scan(query, event.currentTarget) } },
            "Search all examples for this text",
          )
        : null;
    return el(
      "div",
      { class: "list" },
      el(
        "div",
        { class: "results" },
        el(
          "div",
          { class: "bar-line" },
          el(
            "h1",
            {},
            whole(order.length),
            el("span", { class: "quiet" }, order.length === 1 ? " feature" : " features"),
          ),
          scanning,
          el("label", {}, el("span", { class: "quiet" }, "Order "), select),
        ),
        el(
          "div",
          { class: "columns-line", "aria-hidden": "true" },
          el("span", { class: "number" }, "#"),
          el("span", {}, "Label or top tokens"),
          el("span", { class: "density" }, "Density"),
          el("span", {}),
          el("span", { class: "number" }, "Maximum"),
        ),
        el("ol", { class: "rows", start: page * PAGE + 1 }, rows),
        rows.length === 0
          ? el(
              "p",
              { class: "note" },
              "No feature fits. Numbers, labels and top tokens are searched at once; examples as they are loaded.",
            )
          : null,
        pager(query, page, pages),
      ),
      panel(query),
    );
  };
}
