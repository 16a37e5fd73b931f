// Draws the charts in the page's colours, switches between light and dark, and prices tokens at the slider's rent.
"use strict";
(() => {
  const root = document.documentElement;
  if (new URLSearchParams(location.search).get("view") === "cap") document.body.classList.add("view-cap");

  // ---- colours: a text that begins with "--" in a chart is a variable of the style sheet
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const colour = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const coloured = (value) => {
    if (typeof value === "string") return value.startsWith("--") ? colour(value) : value;
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, coloured(inner)]));
    return value;
  };

  // ---- the page's own template
  const merge = (base, over) => {
    const result = { ...base };
    for (const [key, value] of Object.entries(over))
      result[key] =
        value && typeof value === "object" && !Array.isArray(value) && typeof base[key] === "object"
          ? merge(base[key], value)
          : value;
    return result;
  };
  const font = getComputedStyle(document.body).fontFamily;
  const axis = () => ({
    gridcolor: "--line", gridwidth: 1, linecolor: "--line", zerolinecolor: "--line", zerolinewidth: 1, automargin: true,
    ticks: "", tickfont: { size: 11.5, color: "--muted" }, title: { font: { size: 11.5, color: "--muted" }, standoff: 6 },
  });
  const layoutOf = (chart) => {
    const base = {
      autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      font: { family: font, size: 12, color: "--ink" }, margin: { l: 8, r: 14, t: 8, b: 8, pad: 2 },
      legend: {
        orientation: "h", x: 0, xanchor: "left", y: 1.0, yanchor: "bottom", font: { size: 11.5, color: "--ink" },
        itemclick: false, itemdoubleclick: false, bgcolor: "rgba(0,0,0,0)",
      },
      hoverlabel: { bgcolor: "--paper", bordercolor: "--muted", font: { family: font, size: 12, color: "--ink" } },
      xaxis: axis(), yaxis: axis(), dragmode: false,
    };
    for (const key of Object.keys(chart.layout)) if (/^[xy]axis\d+$/.test(key)) base[key] = axis();
    const layout = merge(base, chart.layout);
    for (const note of layout.annotations || []) note.font = { size: 11.5, color: "--muted", ...note.font };
    return coloured(layout);
  };
  const tracesOf = (chart) =>
    chart.data.map((trace) => {
      const copy = coloured(trace);
      if (copy.colorbar) copy.colorbar.tickfont = { size: 11.5, color: colour("--muted") };
      return copy;
    });

  // ---- charts
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const settings = { displayModeBar: false, responsive: true, showTips: false };
  const draw = () => {
    for (const [id, chart] of Object.entries(charts)) {
      const place = document.getElementById(id);
      if (place && window.Plotly) Plotly.react(place, tracesOf(chart), layoutOf(chart), settings);
    }
  };
  draw();
  root.dataset.drawn = "true";

  // ---- every chart by itself, as text in place of the page: what `moecap report --svg` reads
  const drawAlone = async () => {
    const drawn = {};
    for (const [id, chart] of Object.entries(charts)) {
      if (!document.getElementById(id)) continue;
      const layout = { ...layoutOf(chart), paper_bgcolor: "white", width: 900, height: 560, autosize: false };
      const address = await Plotly.toImage({ data: tracesOf(chart), layout }, { format: "svg", width: 900, height: 560 });
      drawn[id] = decodeURIComponent(address.slice(address.indexOf(",") + 1));
    }
    document.body.textContent = JSON.stringify(drawn);
  };
  if (new URLSearchParams(location.search).get("view") === "svg") {
    drawAlone();
    return;
  }

  // ---- light and dark
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const name = () => (button.textContent = dark() ? "Light" : "Dark");
  const remembered = (value) => {
    try {
      if (value) localStorage.setItem("moecap-theme", value);
      return localStorage.getItem("moecap-theme");
    } catch {
      return null; // a file without storage
    }
  };
  const choice = remembered();
  if (choice === "light" || choice === "dark") {
    root.dataset.theme = choice;
    draw();
  }
  name();
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remembered(root.dataset.theme);
    name();
    draw();
  });
  system.addEventListener("change", () => { name(); draw(); });
  let before;
  addEventListener("beforeprint", () => { before = root.dataset.theme; root.dataset.theme = "light"; draw(); });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
    draw();
  });

  // ---- the price of tokens
  const dollars = (value) => {
    if (value === 0) return "$0";
    if (value >= 100) return "$" + Math.round(value).toLocaleString("en");
    return "$" + (value >= 1 ? value.toFixed(2) : String(Number(value.toPrecision(3))));
  };
  const slider = document.getElementById("price");
  if (slider) {
    const shown = document.getElementById("price-shown");
    const start = Number(slider.dataset.start);
    const reprice = (rent) => {
      shown.textContent = `$${Number(rent.toPrecision(3))}/h`;
      for (const cell of document.querySelectorAll("output[data-per-dollar]"))
        cell.textContent = dollars(Number(cell.dataset.perDollar) * rent);
      const chart = charts["chart-cost"];
      if (!chart) return;
      for (const trace of chart.data) trace.y = trace.meta.perDollar.map((value) => value * rent);
      if (window.Plotly) Plotly.react("chart-cost", tracesOf(chart), layoutOf(chart), settings);
    };
    slider.addEventListener("input", () => reprice(10 ** Number(slider.value)));
    const reset = document.getElementById("price-reset");
    if (reset)
      reset.addEventListener("click", () => {
        slider.value = String(Math.log10(start));
        reprice(start);
      });
  }

  // ---- copying a command
  for (const copy of document.querySelectorAll("[data-copy]"))
    copy.addEventListener("click", async () => {
      const source = document.getElementById(copy.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(source);
        copy.textContent = "Selected";
      }
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    });
})();
