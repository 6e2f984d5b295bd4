// The state of the page is the fragment of its address: every view and every sample is a link.
const data = JSON.parse(document.getElementById("data").textContent);
const { runs, classes, conditions, suites, maps } = data.overview;
const at = (id) => document.getElementById(id);
const isBundle = Boolean(data.items);
const isWide = matchMedia("(min-width: 761px)").matches;
const PAGE = 48;

// Elements ------------------------------------------------------------------------------------------------------------

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || ["role", "for", "scope", "colspan", "loading"].includes(key)) {
      if (value !== undefined) made.setAttribute(key, value);
    } else if (value !== undefined) made[key] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const marked = (isRight) =>
  element("span", { className: isRight ? "right" : "wrong" }, isRight ? "✓" : "✗",
    element("span", { className: "hidden" }, isRight ? " right" : " wrong"));

const percent = (share) => `${(100 * share).toFixed(0)} %`;

const replace = (parent, ...children) => parent.replaceChildren(...children.filter((child) => child !== null));

// State ---------------------------------------------------------------------------------------------------------------

const DEFAULTS = { low: "0", high: "1", of: "0", order: "sample", map: "0" };

function readState() {
  const text = location.hash.slice(1);
  const start = text && text !== "content" ? Object.fromEntries(new URLSearchParams(text)) : data.start;
  return { ...DEFAULTS, ...start };
}

function address(changes) {
  const next = { ...state, ...changes };
  const kept = Object.entries(next).filter(([key, value]) => value !== "" && value !== undefined && value !== null && value !== DEFAULTS[key]);
  // An empty fragment would be the first view.
  return `#${new URLSearchParams(kept.length ? kept.map(([key, value]) => [key, String(value)]) : [["order", "sample"]])}`;
}

const CLOSED = { sample: "", image: "" };
const ANYWHERE = { suite: "", corruption: "", severity: "", condition: "", frame: "" };
const ANY = { ...ANYWHERE, ...CLOSED, label: "", predicted: "", outcome: "", runs: "", low: "0", high: "1" };
const outcomesOf = (values) => (values.some(Boolean) ? values.join(",") : "");

// Sources of samples: the server, or the data of the bundle -------------------------------------------------------------

async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error((await answer.text()) || `the server answered ${answer.status}`);
  return answer.json();
}

const server = {
  find(query, start) {
    const names = ["suite", "corruption", "severity", "condition", "frame", "label", "predicted", "outcome", "runs", "low", "high", "of", "order"];
    const texts = names.filter((name) => query[name]).map((name) => [name, query[name]]);
    return ask(`samples?${new URLSearchParams([...texts, ["start", start]])}`);
  },
  sample: (number) => ask(`samples/${encodeURIComponent(number)}`),
  image: (condition, sample, frame) =>
    data.overview.images ? `images/${encodeURIComponent(condition)}/${sample}/${frame}` : "",
};

const bundle = {
  async find(query, start) {
    const number = (text) => (text === "" || text === undefined ? null : Number(text));
    const [label, predicted] = [number(query.label), number(query.predicted)];
    const wanted = (query.outcome || "").split(",");
    const isClean = (one) => conditions[one.condition].clean === one.condition;
    const asksClean = query.suite === "clean" || query.corruption === "clean" || query.severity === "0" || query.condition;
    const selected = data.items.filter((one) => {
      const entry = conditions[one.condition];
      return (asksClean || !isClean(one)) &&
        (!query.suite || entry.suite === query.suite) &&
        (!query.corruption || entry.corruption === query.corruption) &&
        (!query.condition || one.condition === query.condition) &&
        (!query.severity || entry.severity === number(query.severity)) &&
        (!query.frame || one.frame === number(query.frame));
    });
    const own = (one) => one.runs[Number(query.of)];
    const flips = new Map();
    for (const one of selected) flips.set(one.sample, (flips.get(one.sample) ?? 0) + Number(own(one).outcomes.includes("flip")));
    const found = selected.filter((one) =>
      (label === null || one.label === label) &&
      (predicted === null || one.runs.some((other) => other.pred === predicted)) &&
      (!query.runs || one.differ === (query.runs === "differ")) &&
      own(one).confidence >= Number(query.low) && own(one).confidence <= Number(query.high) &&
      wanted.every((outcome, index) => !outcome || outcome === "any" || one.runs[index].outcomes.includes(outcome)));
    const keys = {
      disagreement: (one) => one.disagreement,
      confidence: (one) => own(one).confidence,
      doubt: (one) => -own(one).confidence,
      flips: (one) => Number(own(one).outcomes.includes("flip")),
      sample: () => 0,
    };
    const best = new Map();
    for (const one of found) {
      const other = best.get(one.sample);
      if (!other || keys[query.order](one) > keys[query.order](other)) best.set(one.sample, one);
    }
    const key = query.order === "flips" ? (one) => one.flips : keys[query.order];
    const items = [...best.values()].map((one) => ({ ...one, flips: flips.get(one.sample) })).sort((a, b) => key(b) - key(a) || a.sample - b.sample);
    return { images: found.length, samples: items.length, items: items.slice(start, start + PAGE) };
  },
  sample: async (number) => {
    if (!data.samples[number]) throw new Error("this sample is not in the bundle");
    return data.samples[number];
  },
  image: (condition, sample, frame) => data.images[`${condition}/${sample}/${frame}`] || "",
};

const source = isBundle ? bundle : server;

// Parts of the page ---------------------------------------------------------------------------------------------------

function picture(condition, sample, frame, text) {
  const file = source.image(condition, sample, frame);
  if (!file) return element("div", { className: "none" }, isBundle ? "not in the bundle" : "no image");
  const image = element("img", { alt: text, loading: "lazy", decoding: "async" });
  image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth <= 96));
  image.addEventListener("error", async () => {
    image.replaceWith(element("div", { className: "none" }, "no image"));
    if (isBundle || at("reason").textContent) return;
    const answer = await fetch(file).catch(() => null);
    if (answer && !answer.ok) at("reason").textContent = `No image: ${await answer.text()}`;
  });
  image.src = file;
  return image;
}

const className = (number) => (number < 0 ? "no prediction" : classes[number] ?? `class ${number}`);
const place = (one) => {
  const entry = conditions[one.condition];
  return entry.title + (entry.frames > 1 ? `, frame ${one.frame}` : "");
};

function drawHeader() {
  const { answer, notes, dataset, samples } = data.overview;
  document.title = `robench view: ${runs.map((run) => run.name).join(", ")}`;
  const [first = "Samples", ...further] = answer;
  at("answer").append(element("p", { className: "answer" }, first), ...notes.map((text) => element("p", { className: "note" }, text)));
  at("runs").open = isWide;
  at("runs").append(...further.map((text) => element("p", { className: "further" }, text)));
  for (const run of runs) {
    const mark = element("span", { "aria-hidden": "true" }, run.mark);
    mark.style.color = run.colour;
    at("runs").append(element("div", {}, mark, " ", element("strong", {}, run.name), ` ${run.headlines.map((one) => `${one.label} ${one.value}`).join(" · ")}`));
  }
  at("runs").append(element("div", { className: "further" }, `${dataset}, ${samples.toLocaleString("en")} samples${isBundle ? `, ${data.items.length.toLocaleString("en")} images in this bundle` : ""}`));
}

// One-click answers: name and the fields of the state.
const QUESTIONS = (() => {
  if (runs.length === 1) {
    return [
      ["Images that broke", { outcome: "broken", order: "confidence" }],
      ["Images that break first", { outcome: "broken", order: "sample" }],
      ["Predictions that flip most", { order: "flips" }],
      ["Least confident", { order: "doubt" }],
      ["Wrong on clean images", { suite: "clean", outcome: "wrong", order: "confidence" }],
      ["All images", { order: "sample" }],
    ];
  }
  const only = (index, inside, outside) => runs.map((_, other) => (other === index ? inside : outside)).join(",");
  return [
    ["Where the models disagree", { runs: "differ", order: "disagreement" }],
    ...runs.map((run, index) => [`Only ${run.name} is right`, { outcome: only(index, "right", "wrong"), order: "disagreement" }]),
    ["Images that broke every model", { outcome: runs.map(() => "broken").join(","), order: "confidence" }],
    ...runs.map((run, index) => [`${run.name} flips most`, { order: "flips", of: String(index) }]),
    ["All images", { order: "sample" }],
  ];
})();

function drawQuestions() {
  const own = Object.keys({ ...ANY, order: "", of: "" });
  at("questions").replaceChildren(...QUESTIONS.map(([text, fields]) => {
    const wanted = { ...ANY, of: "0", ...fields };
    const isCurrent = own.every((key) => key in CLOSED || key in ANYWHERE && !fields[key] || (state[key] ?? "") === (wanted[key] ?? ""));
    return element("a", { href: address({ ...ANY, of: "0", ...fields }), "aria-current": isCurrent ? "true" : undefined }, text);
  }));
}

function scaleOf(map) {
  const bar = element("span", { "aria-hidden": "true" }, ...map.scale.map((colour) => {
    const step = element("i");
    step.style.background = colour;
    return step;
  }));
  const [low, high] = map.domain;
  return element("div", { className: "scale" }, String(low), bar, String(high), ` ${map.unit}`);
}

const isSelected = (cell, suite) => {
  const entry = conditions[cell.condition];
  if (cell.frame !== undefined) return state.condition === cell.condition && state.frame === String(cell.frame);
  return state.condition === cell.condition ||
    (state.corruption === entry.corruption && state.severity === String(entry.severity) && (!state.suite || state.suite === suite.name));
};

function cellTarget(cell, suite) {
  const entry = conditions[cell.condition];
  return cell.frame === undefined && suite.across === "severity"
    ? { ...ANYWHERE, ...CLOSED, suite: suites.length > 1 ? suite.name : "", corruption: entry.corruption, severity: entry.severity }
    : { ...ANYWHERE, ...CLOSED, condition: cell.condition, frame: cell.frame ?? "" };
}

// A table of a suite: `fill` makes the link of a cell; the headings are links if `isLinked`.
function suiteTable(suite, caption, isLinked, fill) {
  const head = element("tr", {}, element("th", { scope: "col" }, suite.across),
    ...suite.columns.map((column) => element("th", { scope: "col" }, suite.across === "severity" && isLinked
      ? element("a", { href: address({ ...ANYWHERE, ...CLOSED, suite: suites.length > 1 ? suite.name : "", severity: column }), title: `every corruption at severity ${column}` }, column)
      : column)));
  const body = element("tbody");
  let category = "";
  for (const row of suite.rows) {
    if (row.category !== category && new Set(suite.rows.map((one) => one.category)).size > 1) {
      body.append(element("tr", { className: "category" }, element("th", { colspan: String(suite.columns.length + 1), scope: "colgroup" }, row.category)));
    }
    category = row.category;
    const target = row.condition ? { condition: row.condition } : { suite: suites.length > 1 ? suite.name : "", corruption: row.corruption };
    const isCurrent = row.condition ? state.condition === row.condition && !state.frame : state.corruption === row.corruption && !state.severity;
    body.append(element("tr", {},
      element("th", { scope: "row" }, isLinked
        ? element("a", { href: address({ ...ANYWHERE, ...CLOSED, ...target }), title: row.title, "aria-current": isCurrent ? "true" : undefined }, row.title)
        : row.title),
      ...suite.columns.map((column) => {
        const cell = row.cells.find((one) => one.column === column);
        return element("td", {}, cell ? fill(cell, `${row.title}, ${suite.across} ${column}`) : null);
      })));
  }
  return element("table", { className: suite.columns.length > 6 ? "heat wide" : "heat" }, element("caption", {}, caption), element("thead", {}, head), body);
}

function drawMap() {
  const map = maps[Number(state.map)] ?? maps[0];
  const select = element("select", { "aria-label": "Values of the heat map" }, ...maps.map((one, index) => element("option", { value: String(index), selected: one === map }, one.title)));
  select.addEventListener("change", () => { location.hash = address({ ...CLOSED, map: select.value }); });
  const tables = suites.map((suite) => suiteTable(suite, suite.title, true, (cell, name) => {
    const value = cell.values[maps.indexOf(map)];
    // A second click on a cell leads back to all conditions.
    const target = isSelected(cell, suite) ? { ...ANYWHERE, ...CLOSED } : cellTarget(cell, suite);
    const link = element("a", { href: address(target), "aria-label": `${name}: ${map.title} ${value.text}`, "aria-current": isSelected(cell, suite) ? "true" : undefined }, value.text);
    link.style.background = value.back;
    link.style.color = value.ink;
    return link;
  }));
  at("maps").replaceChildren(element("label", {}, "Map of ", select), scaleOf(map), ...tables);
}

function choice(label, name, options, value, change) {
  const select = element("select", { name }, ...options.map(([key, text]) => element("option", { value: key, selected: key === (value ?? "") }, text)));
  select.addEventListener("change", () => { location.hash = address({ ...CLOSED, ...change(select.value) }); });
  return element("label", {}, label, select);
}

function drawForm() {
  const any = ["", "any"];
  const listed = (values, text = (value) => value) => [any, ...[...new Set(values)].map((value) => [String(value), text(value)])];
  const entries = Object.values(conditions);
  const inSuite = entries.filter((entry) => !state.suite || entry.suite === state.suite);
  const outcomes = [any, ...Object.entries(data.overview.outcomes)];
  const chosen = (state.outcome || "").split(",");
  const named = classes.map((name, index) => [String(index), name]).sort((a, b) => a[1].localeCompare(b[1], "en"));
  const parts = [];
  if (suites.length > 1) {
    parts.push(choice("Suite", "suite", listed(entries.map((entry) => entry.suite)), state.suite, (value) => ({ ...ANYWHERE, suite: value })));
  }
  const corruption = state.condition ? conditions[state.condition]?.corruption : state.corruption;
  parts.push(choice("Corruption", "corruption", listed(inSuite.map((entry) => entry.corruption), (name) => name.replaceAll("_", " ")), corruption,
    (value) => ({ condition: "", frame: "", corruption: value })));
  const severities = [...new Set(inSuite.map((entry) => entry.severity))].sort((a, b) => a - b);
  parts.push(choice("Severity", "severity", listed(severities), state.severity, (value) => ({ condition: "", frame: "", corruption, severity: value })));
  const frames = state.condition ? conditions[state.condition]?.frames ?? 1 : 1;
  if (frames > 1) parts.push(choice("Frame", "frame", listed([...Array(frames).keys()]), state.frame, (value) => ({ frame: value })));
  runs.forEach((run, index) => {
    parts.push(choice(run.name, `outcome${index}`, outcomes, chosen[index], (value) => {
      const next = runs.map((_, other) => (other === index ? value : chosen[other] || ""));
      return { outcome: outcomesOf(next) };
    }));
  });
  if (runs.length > 1) parts.push(choice("The runs", "runs", [any, ...Object.entries(data.overview.agreements)], state.runs, (value) => ({ runs: value })));
  parts.push(choice("Class", "label", [any, ...named], state.label, (value) => ({ label: value })));
  parts.push(choice("Predicted class", "predicted", [any, ...named], state.predicted, (value) => ({ predicted: value })));
  const number = (name, label) => {
    const input = element("input", { type: "number", min: "0", max: "100", step: "any", name, value: String(Math.round(1e6 * Number(state[name])) / 1e4), "aria-label": label });
    input.addEventListener("change", () => {
      const value = Math.min(Math.max(Number(input.value) / 100, 0), 1);
      location.hash = address({ ...CLOSED, [name]: String(value) });
    });
    return input;
  };
  parts.push(element("fieldset", {}, element("legend", {}, "Confidence, %"), element("span", {}, number("low", "Least confidence, %"), " to ", number("high", "Largest confidence, %"))));
  if (runs.length > 1) parts.push(choice("Confidence, flips of", "of", runs.map((run, index) => [String(index), run.name]), state.of, (value) => ({ of: value })));
  parts.push(choice("Order", "order", Object.entries(data.overview.orders), state.order, (value) => ({ order: value })));
  parts.push(element("a", { href: address({ ...ANY, of: "0", order: "sample" }) }, "Clear"));
  const focused = document.activeElement?.name;
  at("form").replaceChildren(...parts);
  if (focused) at("form").elements[focused]?.focus();
}

const itemAddress = (one) => address({ sample: one.sample, image: `${one.condition}/${one.frame}` });

function take(run, index) {
  const own = runs[index];
  const mark = element("span", { "aria-hidden": "true" }, own.mark);
  mark.style.color = own.colour;
  const text = `${className(run.pred)} ${run.pred < 0 ? "" : percent(run.confidence)}`;
  return element("li", { title: `${own.name}: ${text}` }, marked(run.outcomes.includes("right")), " ", text, ...(runs.length > 1 ? [" ", mark, ` ${own.name}`] : []));
}

function card(one) {
  const entry = conditions[one.condition];
  const name = className(one.label);
  return element("a", { className: "card", href: itemAddress(one) },
    element("div", { className: "pair" },
      picture(entry.clean, one.sample, 0, `clean image of ${name}`),
      picture(one.condition, one.sample, one.frame, `the same image under ${place(one)}`)),
    element("strong", {}, name), " ", element("span", { className: "where" }, place(one).replace(", severity", "")),
    state.order === "flips" ? element("span", { className: "where" }, `, ${one.flips} flips`) : null,
    element("ul", { className: "takes" }, ...one.runs.map((run, index) => take(run, index))));
}

// Samples -------------------------------------------------------------------------------------------------------------

let state = readState();
let listed = { key: null, items: [], samples: 0 };

const queryKey = () => {
  const { sample, image, map, ...query } = state;
  return JSON.stringify(Object.entries(query).filter(([, value]) => value).sort());
};

async function find() {
  const key = queryKey();
  if (listed.key === key) return;
  const found = await source.find(state, 0);
  if (key !== queryKey()) return;
  listed = { key, ...found };
  const many = found.images > found.samples ? " Each sample is shown once, with the image that comes first in this order." : "";
  replace(at("count"), element("strong", {}, `${found.images.toLocaleString("en")} image${found.images === 1 ? "" : "s"}`),
    ` of ${found.samples.toLocaleString("en")} sample${found.samples === 1 ? "" : "s"}${isBundle ? " in this bundle" : ""}.${many}`,
    found.images ? null : " No image matches these filters.");
  at("reason").textContent = "";
  at("grid").replaceChildren(...found.items.map(card));
  at("more").hidden = listed.items.length >= listed.samples;
  document.documentElement.dataset.shown = key;
}

async function more() {
  if (listed.items.length >= listed.samples) return;
  const { key } = listed;
  const found = await source.find(state, listed.items.length);
  if (listed.key !== key) return;
  listed.items.push(...found.items);
  at("grid").append(...found.items.map(card));
  at("more").hidden = listed.items.length >= listed.samples;
}

async function step(by) {
  const index = listed.items.findIndex((one) => String(one.sample) === state.sample);
  if (index + by >= listed.items.length) await more();
  const next = listed.items[index + by];
  if (next && (index >= 0 || by > 0)) history.replaceState(null, "", itemAddress(next)), render();
}

async function drawSample() {
  const dialog = at("dialog");
  if (!state.sample) {
    if (dialog.open) dialog.close();
    return;
  }
  const wanted = state.sample;
  let one;
  try {
    one = await source.sample(wanted);
  } catch (error) {
    one = null;
    dialog.replaceChildren(element("p", { className: "note", id: "sample-title" }, error.message), closeButton());
  }
  if (state.sample !== wanted) return;
  if (one) dialog.replaceChildren(...sampleParts(one));
  if (!dialog.open) dialog.showModal();
  document.documentElement.dataset.sample = `${wanted} ${state.image ?? ""}`;
}

function closeButton() {
  const close = element("button", { type: "button", "aria-label": "Close" }, "Close");
  close.addEventListener("click", () => { location.hash = address(CLOSED); });
  return close;
}

function sampleParts(one) {
  const [first] = Object.keys(one.conditions);
  const [name, frameText] = (state.image || "").split("/");
  const condition = one.conditions[name] ? name : first;
  const known = one.conditions[condition];
  const frame = Math.min(Number(frameText) || 0, known.pred.length - 1);
  const shown = { condition, frame };
  const entry = conditions[condition];
  const clean = one.conditions[entry.clean] ?? known;
  const label = className(one.label);
  const index = listed.items.findIndex((other) => String(other.sample) === String(one.sample));
  const move = (text, by, isOff) => {
    const button = element("button", { type: "button", disabled: isOff }, text);
    button.addEventListener("click", () => step(by));
    return button;
  };
  const rows = runs.map((run, number) => element("tr", {},
    element("th", { scope: "row" }, run.name),
    element("td", {}, marked(known.right[frame][number]), ` ${className(known.pred[frame][number])} ${percent(known.confidence[frame][number])}`),
    element("td", {}, marked(clean.right[0][number]), ` ${className(clean.pred[0][number])} ${percent(clean.confidence[0][number])}`)));
  const axis = known.axis[frame] === null || known.axis[frame] === undefined ? "" : ` (${known.axis[frame]})`;
  const strip = entry.frames > 1 ? element("div", { className: "strip", role: "group", "aria-label": "Frames" }, ...known.right.map((right, number) =>
    element("a", { href: address({ image: `${condition}/${number}` }), "aria-current": number === frame ? "true" : undefined },
      picture(condition, one.sample, number, `frame ${number}`), `${number} `, ...right.map(marked)))) : null;
  const matrix = suites.map((suite) => suiteTable(suite, suites.length > 1 ? suite.title : "Every condition of this sample", false, (cell, text) => {
    const preds = one.conditions[cell.condition].pred[cell.frame ?? 0];
    const right = one.conditions[cell.condition].right[cell.frame ?? 0];
    const isCurrent = cell.condition === condition && (cell.frame ?? 0) === frame;
    return element("a", {
      href: address({ image: `${cell.condition}/${cell.frame ?? 0}` }),
      "aria-current": isCurrent ? "true" : undefined,
      "aria-label": `${text}: ${preds.map((pred, number) => `${runs[number].name} ${className(pred)}, ${right[number] ? "right" : "wrong"}`).join("; ")}`,
    }, ...right.map((own) => element("span", { className: own ? "right" : "wrong" }, own ? "✓" : "✗")));
  }));
  return [
    element("div", { className: "bar" },
      element("h2", { id: "sample-title" }, label, element("span", { className: "where" }, ` ${place(shown)}${axis}`)),
      index >= 0 ? element("span", { className: "where" }, `${(index + 1).toLocaleString("en")} of ${listed.samples.toLocaleString("en")}`) : null,
      move("Previous", -1, index <= 0), move("Next", 1, index >= 0 && index + 1 >= listed.samples), closeButton()),
    element("div", { className: "inside" },
      element("div", {},
        element("div", { className: "large" },
          element("figure", {}, picture(entry.clean, one.sample, 0, `clean image of ${label}`), element("figcaption", {}, "clean")),
          element("figure", {}, picture(condition, one.sample, frame, `the same image under ${place(shown)}`), element("figcaption", {}, place(shown)))),
        strip,
        element("table", { className: "facts" },
          element("caption", { className: "hidden" }, "Predictions"),
          element("thead", {}, element("tr", {}, ...["Run", "Prediction", "On the clean image"].map((text) => element("th", { scope: "col" }, text)))),
          element("tbody", {}, ...rows)),
        element("p", { className: "where" }, `Sample ${one.sample}: ${one.path}`),
        element("p", { className: "keys" }, "Keys: ← → or K J for the previous and next sample, Esc to close.")),
      element("div", {}, runs.length > 1 ? element("p", { className: "where" }, `In each cell: ${runs.map((run) => run.name).join(", ")}.`) : null, ...matrix)),
  ];
}

// Events --------------------------------------------------------------------------------------------------------------

async function render() {
  state = readState();
  drawQuestions();
  drawMap();
  drawForm();
  try {
    await find();
  } catch (error) {
    listed = { key: queryKey(), items: [], samples: 0 };
    at("grid").replaceChildren();
    at("more").hidden = true;
    at("count").replaceChildren(element("span", { className: "note" }, error instanceof TypeError ? "The server has ended. Start robench view again." : error.message));
  }
  [...at("grid").children].forEach((link, index) => { link.href = itemAddress(listed.items[index]); });
  await drawSample();
}

addEventListener("hashchange", render);
at("maps").addEventListener("click", (event) => { if (!isWide && event.target.closest("a")) at("map").open = false; });
at("more").addEventListener("click", more);
at("form").addEventListener("submit", (event) => event.preventDefault());
at("skip").addEventListener("click", (event) => { event.preventDefault(); at("content").focus(); });
at("dialog").addEventListener("cancel", (event) => { event.preventDefault(); location.hash = address(CLOSED); });
at("dialog").addEventListener("click", (event) => { if (event.target === at("dialog")) location.hash = address(CLOSED); });
addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const by = { ArrowRight: 1, j: 1, J: 1, ArrowLeft: -1, k: -1, K: -1 }[event.key];
  if (!by || (!state.sample && event.key.startsWith("Arrow"))) return;
  event.preventDefault();
  step(by);
});

at("filters").open = isWide;
at("map").open = isWide;
drawHeader();
render();
