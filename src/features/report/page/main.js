// Which page is shown, and the keys.
"use strict";

{
  const { el } = monosem;
  const main = document.getElementById("main");
  const searchField = document.getElementById("search");
  let shown = 0;

  /** The address's part behind #: a view and its settings. */
  const route = () => {
    const [path, settings] = location.hash.replace(/^#\/?/, "").split("?");
    const [view, argument] = path.split("/");
    const query = Object.fromEntries(new URLSearchParams(settings ?? ""));
    if (view === "feature") return { view, feature: Number(argument), query };
    return { view: view === "map" ? "map" : "list", query };
  };

  const featureExists = (feature) => Number.isInteger(feature) && feature >= 0 && feature < monosem.all.features;

  const viewOf = async ({ view, feature, query }) => {
    if (view === "map") return monosem.mapView(featureExists(Number(query.at ?? "x")) ? Number(query.at) : null);
    if (view === "list") return monosem.listView(query);
    if (featureExists(feature)) return monosem.featureView(feature);
    return el(
      "div",
      { class: "prose" },
      el("h1", {}, "No such feature"),
      el("p", {}, `There are features 0 to ${monosem.whole(monosem.all.features - 1)}.`),
    );
  };

  const names = { list: () => "Features", map: () => "Map", feature: ({ feature }) => `Feature ${feature}` };

  /** Shows what the address names. */
  monosem.show = async () => {
    const now = ++shown;
    const to = route();
    monosem.tip.hide();
    let page;
    try {
      page = await viewOf(to);
    } catch (error) {
      page = el(
        "div",
        { class: "prose" },
        el("h1", {}, "Not loaded"),
        el("p", {}, error.message),
        el("p", {}, "The report is damaged, or its files were moved apart: write it again with monosem report."),
      );
    }
    // A later address may have been faster.
    if (now !== shown) return;
    main.replaceChildren(page);
    Object.assign(document.body.dataset, { view: to.view, shown: location.hash });
    const model = String(monosem.all.description.sae.model_name ?? "monosem");
    document.title = `${names[to.view](to)} · ${monosem.plain(monosem.cut(model))}`;
    document.getElementById("to-list").toggleAttribute("aria-current", to.view === "list");
    document.getElementById("to-map").toggleAttribute("aria-current", to.view === "map");
    if (document.activeElement !== searchField) searchField.value = to.view === "list" ? (to.query.q ?? "") : "";
    if (to.view === "list") lastList = location.hash || "#/";
  };

  let lastList = "#/";
  let typed = 0;
  const searchNow = () => {
    clearTimeout(typed);
    const query = route().view === "list" ? route().query : {};
    const address = monosem.listAddress(query, { q: searchField.value, page: "", sort: "" });
    if (location.hash !== address) location.hash = address;
  };

  searchField.addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(searchNow, 180);
  });
  searchField.addEventListener("keydown", async (event) => {
    if (event.key === "Escape") searchField.blur();
    if (event.key === "ArrowDown") {
      main.querySelector(".row")?.focus();
      event.preventDefault();
    }
    if (event.key !== "Enter") return;
    const number = monosem.numberOf(searchField.value);
    if (number !== null) {
      clearTimeout(typed);
      searchField.blur();
      location.hash = `#/feature/${number}`;
    } else {
      searchNow();
      await monosem.show();
      main.querySelector(".row")?.focus();
    }
  });

  const step = (by) => {
    const { view, feature } = route();
    if (view === "feature" && featureExists(feature)) {
      const to = monosem.beside(feature)[by > 0 ? 1 : 0];
      if (to !== null) location.hash = `#/feature/${to}`;
      return;
    }
    const rows = [...main.querySelectorAll(".row")];
    const at = rows.indexOf(document.activeElement);
    if (at + by >= 0 && at + by < rows.length) rows[at + by].focus();
    else main.querySelector(by > 0 ? "[rel=next]" : "[rel=prev]")?.click();
  };

  const actions = {
    "/": () => {
      searchField.focus();
      searchField.select();
    },
    j: () => step(1),
    k: () => step(-1),
    ArrowDown: () => step(1),
    ArrowUp: () => step(-1),
    ArrowRight: () => step(1),
    ArrowLeft: () => step(-1),
    m: () => {
      location.hash = route().view === "feature" ? `#/map?at=${route().feature}` : "#/map";
    },
    r: () => {
      location.hash = `#/feature/${Math.floor(Math.random() * monosem.all.features)}`;
    },
    Escape: () => {
      if (route().view !== "list") location.hash = lastList;
    },
    "?": () => help.showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, dialog")) return;
    const sideways = event.key === "ArrowLeft" || event.key === "ArrowRight";
    const upDown = event.key === "ArrowUp" || event.key === "ArrowDown";
    const { view } = route();
    // Arrows that scroll stay the browser's.
    if ((sideways && view !== "feature") || (upDown && view !== "list")) return;
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
  });

  const help = document.getElementById("help");
  const keys = [
    ["/", "search"],
    ["j k", "next, previous"],
    ["Enter", "open"],
    ["← →", "next feature; within a passage, its active tokens"],
    ["m", "map"],
    ["+ −", "zoom the map"],
    ["r", "a random feature"],
    ["Esc", "back to the list"],
  ];
  help.append(
    el("h2", { id: "help-title" }, "Keys"),
    el(
      "dl",
      {},
      keys.map(([key, words]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, words))),
    ),
    el("h2", {}, "What is shown"),
    el(
      "p",
      {},
      "Shades are activations as a part of the feature's maximum. Below the top activations are random ones from " +
        "equal parts of the range.",
    ),
    el("p", {}, "↵ is a line end, · a space at the end of a token, and U+ a character that would not be seen."),
    el("form", { method: "dialog" }, el("button", { type: "submit" }, "Close")),
  );
  help.querySelector("button").addEventListener("click", (event) => {
    event.preventDefault();
    help.close();
  });
  document.getElementById("to-help").addEventListener("click", () => help.showModal());

  addEventListener("hashchange", () => {
    scrollTo(0, 0);
    monosem.show();
  });
  addEventListener("scroll", monosem.tip.hide, { passive: true });

  if (monosem.all) {
    const { sae } = monosem.all.description;
    const named = [sae.model_name, sae.hook_name].filter((name) => typeof name === "string" && name !== "");
    document
      .getElementById("name")
      .replaceChildren(
        ...(named.length
          ? [
              el("span", {}, monosem.visible(monosem.cut(named[0]))),
              named[1] ? el("span", { class: "quiet" }, monosem.visible(monosem.cut(named[1]))) : null,
            ].filter(Boolean)
          : ["Features"]),
      );
    monosem.show();
  } else {
    main.replaceChildren(
      el("p", { class: "note" }, "data/overview.js is missing or damaged: write the report again with monosem report."),
    );
  }
}
