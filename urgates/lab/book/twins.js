// Draws a twin (twins.py): its controls, its panels as SVG, its readings.  Nothing is loaded.
(() => {
  const twin = TWIN, root = document.currentScript.parentElement;
  const [WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM] = [340, 250, 46, 8, 18, 44];
  const STEPS = 200, POINTS = 160, UNITS = 200; // of a slider, of a line, of a mean
  const STYLE = `
    .twin { max-width: 68rem; margin: 0.5rem 0; font-size: 0.9rem; }
    .twin-controls { display: grid; gap: 0.3rem 2rem;
      grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)); }
    .twin label { display: grid; grid-template-columns: 7.8rem 1fr 3.2rem; gap: 0.6rem;
      align-items: center; margin: 0; min-height: 1.9rem; }
    .twin input, .twin select { width: 100%; box-sizing: border-box; margin: 0; font: inherit;
      accent-color: #0173b2; }
    .twin input[type=text] { font-family: monospace; padding: 0.1rem 0.3rem; }
    .twin label:has(input[type=text]) { grid-column: 1 / -1; grid-template-columns: 7.8rem 1fr; }
    .twin input[type=text] + output:not(:empty) { grid-column: 2; color: #b3261e; }
    .twin output { font-variant-numeric: tabular-nums; }
    .twin-readings { display: flex; flex-wrap: wrap; gap: 0.2rem 1.5rem; padding: 0.4rem 0;
      font-weight: 600; }
    .twin-panels { display: grid; gap: 0.6rem 1.2rem;
      grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); }
    .twin figure { margin: 0; max-width: 26rem; }
    .twin figcaption { text-align: center; font-weight: 600; padding: 0; margin: 0;
      color: inherit; }
    .twin figure > div > svg { display: block; width: 100%; height: auto; fill: currentColor; }
    .twin text { font-size: 12.5px; }
    .twin .grid path { stroke: currentColor; stroke-opacity: 0.15; }
    .twin-keys { display: flex; flex-wrap: wrap; gap: 0 0.9rem; justify-content: center;
      font-size: 0.82rem; }`;
  const values = {}, redraws = [];

  const make = (parent, tag, attributes = {}, text = "") => {
    const element = parent.appendChild(document.createElement(tag));
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    element.textContent = text;
    return element;
  };
  const high = (digit) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)];
  const raised = (k) => `10${[...`${k}`].map(high).join("")}`;
  const written = (x) => {
    if (!Number.isFinite(x)) return x > 0 ? "∞" : "–";
    if (x === 0 || (Math.abs(x) >= 1e-3 && Math.abs(x) < 1e5))
      return `${+x.toPrecision(3)}`.replace("-", "−");
    const [digits, power] = x.toExponential(1).split("e");
    return `${digits} · ${raised(+power)}`.replace("-", "−");
  };
  const escaped = (text) => text.replace(/[&<"]/g, (c) => `&#${c.charCodeAt(0)};`);

  // ---------------------------------------------------------------- axes

  const warped = ({ low, high, log }, share) =>
    log ? low * (high / low) ** share : low + (high - low) * share;
  const scale = ({ low, high, log }, from, to) => {
    const warp = log ? Math.log10 : (x) => x;
    const share = (x) => (warp(x) - warp(low)) / (warp(high) - warp(low));
    return (x) => Math.max(-2e3, Math.min(2e3, from + (to - from) * share(x)));
  };
  const ticks = ({ low, high, log }) => {
    const [a, b] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
    const raw = (b - a) / 6, unit = log ? 1 : 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * unit).find((s) => s >= raw - 1e-9);
    const found = [];
    for (let k = Math.ceil(a / step - 1e-9); k * step <= b + 1e-9; k++) {
      const x = +(k * step).toPrecision(9);
      const power = x < 0 || x > 3 ? raised(x) : `${10 ** x}`;
      found.push(log ? [10 ** x, power] : [x, written(x)]);
    }
    return found;
  };

  // ---------------------------------------------------------------- what is drawn

  const known = (panel, more) => {
    const env = { ...values, ...more };
    for (const [name, f] of Object.entries(panel.given ?? {})) env[name] = f(env);
    return env;
  };
  const value = (panel, line, f, name, t) => {
    if (!line.mean) return f(known(panel, { [name]: t }));
    let sum = 0;
    for (let unit = 0; unit < UNITS; unit++)
      sum += f(known(panel, { [name]: t, [line.mean]: (unit + 0.5) / UNITS }));
    return sum / UNITS;
  };
  const sampled = (panel, line, f) => {
    const over = line.over ?? panel.x, points = line.mean ? POINTS / 4 : POINTS;
    return [...Array(points + 1).keys()].map((i) => {
      const t = warped(over, i / points), at = (x) => value(panel, line, f, over.name, x);
      const x = line.x ? value(panel, line, line.x, over.name, t) : t;
      return [x, line.slope ? (at(t + 1e-4) - at(t - 1e-4)) / 2e-4 : at(t)];
    });
  };
  const path = (points, X, Y) => {
    const drawn = points.filter(([x, y]) => !Number.isNaN(x) && !Number.isNaN(y));
    const places = drawn.map(([x, y]) => `${X(x).toFixed(1)} ${Y(y).toFixed(1)}`);
    return `M${places.join("L")}`;
  };
  const dot = (panel, line, X, Y) => {
    const env = known(panel, {}), [x, y] = [X(line.x(env)), Y(line.y(env))];
    const ink = `fill="${line.color}" stroke="white"`;
    return Number.isNaN(x + y) ? "" : `<circle cx="${x}" cy="${y}" r="5" ${ink}/>`;
  };
  const part = (panel, line, X, Y) => {
    const ink = `stroke="${line.color}" stroke-width="2" stroke-dasharray="${line.dash ?? ""}"`;
    const points = sampled(panel, line, line.y);
    if (!line.to) return `<path d="${path(points, X, Y)}" fill="none" ${ink}/>`;
    const there = path(points, X, Y), back = path(sampled(panel, line, line.to).reverse(), X, Y);
    return `<path d="${there}L${back.slice(1)}Z" fill="${line.color}" fill-opacity="0.2"/>`;
  };
  const picture = (panel) => {
    const right = WIDTH - RIGHT, low = HEIGHT - BOTTOM, inner = [right - LEFT, low - TOP];
    const X = scale(panel.x, LEFT, right), Y = scale(panel.y, low, TOP);
    const shiftedX = (x) => X(x) - LEFT, shiftedY = (y) => Y(y) - TOP;
    const text = (x, y, what, anchor) =>
      `<text x="${x}" y="${y}" text-anchor="${anchor}">${escaped(what)}</text>`;
    const grid = [
      ...ticks(panel.x).map(([x, said]) =>
        `<path d="M${X(x)} ${TOP}V${low}"/>${text(X(x), low + 15, said, "middle")}`),
      ...ticks(panel.y).map(([y, said]) =>
        `<path d="M${LEFT} ${Y(y)}H${right}"/>${text(LEFT - 6, Y(y) + 4, said, "end")}`),
    ];
    const dots = panel.lines.filter((line) => line.point);
    const lines = panel.lines.filter((line) => !line.point);
    const parts = lines.map((line) => part(panel, line, shiftedX, shiftedY));
    return `<g class="grid">${grid.join("")}</g>
      <svg x="${LEFT}" y="${TOP}" width="${inner[0]}" height="${inner[1]}">${parts.join("")}</svg>
      ${dots.map((line) => dot(panel, line, X, Y)).join("")}
      ${text((LEFT + right) / 2, HEIGHT - 8, panel.x.label, "middle")}`;
  };

  // ---------------------------------------------------------------- the page

  const redraw = () => redraws.forEach((draw) => draw());
  const slider = (row, control) => {
    const place = (x) => control.log
      ? Math.log(x / control.low) / Math.log(control.high / control.low)
      : (x - control.low) / (control.high - control.low);
    const input = make(row, "input", { type: "range", min: 0, max: STEPS });
    const said = make(row, "output");
    input.value = Math.round(STEPS * place(control.start));
    const read = (moved) => {
      const x = moved ? warped(control, input.value / STEPS) : control.start;
      values[control.name] = control.whole ? Math.round(x) : +x.toPrecision(6);
      said.textContent = written(values[control.name]);
      input.setAttribute("aria-valuetext", said.textContent);
    };
    return [input, read];
  };
  const choice = (row, control) => {
    const input = make(row, "select");
    control.options.forEach((option, i) => make(input, "option", { value: i }, option));
    return [input, () => { values[control.name] = +input.value; }];
  };
  const formula = (row, control) => {
    const input = make(row, "input", { type: "text", spellcheck: "false", autocomplete: "off" });
    const said = make(row, "output");
    input.value = control.text;
    return [input, () => {
      try {
        const text = input.value.replace(/(^|\()\s*-/g, "$10-"); // no -f**2 in JavaScript
        const f = new Function(...control.of, `with (Math) return (${text});`);
        const tried = f(...control.of.map(() => 0.5));
        if (!Number.isFinite(tried)) throw new Error(`it is ${tried} where all are 1/2`);
        values[control.name] = f;
        said.textContent = "";
      } catch (error) {
        said.textContent = error.message;
      }
      input.setAttribute("aria-invalid", said.textContent !== "");
    }];
  };
  const kinds = { Slider: slider, Choice: choice, Formula: formula };

  root.querySelector("p").remove();
  make(root, "style", {}, STYLE);
  const controls = make(root, "div", { class: "twin-controls" });
  for (const control of twin.controls) {
    const row = make(controls, "label");
    make(row, "span", {}, control.label);
    const [input, read] = kinds[control.kind](row, control);
    input.setAttribute("data-lm-suppress-shortcuts", ""); // JupyterLab folds a section at an arrow
    input.addEventListener("input", (event) => { read(event); redraw(); });
    read();
  }
  if (twin.readings) {
    const said = make(root, "output", { class: "twin-readings" });
    redraws.push(() => {
      const env = known(twin, {});
      said.replaceChildren();
      for (const [name, f, unit] of twin.readings)
        make(said, "span", {}, `${name} = ${written(f(env))} ${unit}`);
    });
  }
  const panels = make(root, "div", { class: "twin-panels" });
  for (const panel of twin.panels) {
    const figure = make(panels, "figure");
    make(figure, "figcaption", {}, panel.title);
    const drawn = make(figure, "div");
    const keys = panel.lines.filter((line) => line.label).map((line) => {
      const [wide, seen] = line.to ? [9, 0.3] : [2.5, 1];
      const ink = `stroke="${line.color}" stroke-width="${wide}" stroke-opacity="${seen}"`;
      return `<span><svg width="26" height="10" aria-hidden="true"><path d="M1 5H25" ${ink}
        stroke-dasharray="${line.dash ?? ""}"/></svg> ${escaped(line.label)}</span>`;
    });
    make(figure, "div", { class: "twin-keys" }).innerHTML = keys.join(" ");
    const about = `${panel.title}, over ${panel.x.label}`;
    redraws.push(() => {
      const named = `role="img" aria-label="${escaped(about)}"`;
      drawn.innerHTML = `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" ${named}>${picture(panel)}</svg>`;
    });
  }
  redraw();
})();
