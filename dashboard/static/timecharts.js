// The two charts over time, on uPlot: nothing else knows it.
(() => {
  const HEIGHT = 260;
  const plots = new Map();
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  // Digits without exponents, as on the rest of the page.
  const signed = (value, digits) =>
    value.toLocaleString("en", { maximumSignificantDigits: digits, signDisplay: "exceptZero" }).replace("-", "−");
  // As narrow as the axis: from a million on in units of it.
  const mark = (value) =>
    Math.abs(value) < 1e6
      ? signed(value, 6)
      : value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 4, signDisplay: "exceptZero" }).replace("-", "−");
  const share = (value) => `${Number((100 * value).toFixed(1))} %`;

  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const DAY_S = 86400;
  // All times in UTC, whatever the zone of the browser.
  const isoOf = (seconds) => new Date(Math.round(seconds * 1000)).toISOString();
  // The clock as exactly as times that are `step` seconds apart need it to differ.
  const clock = (iso, step) => {
    if (step >= 60) return iso.slice(11, 16);
    const decimals = [0, 1, 2].find((n) => Number.isInteger(Number((step * 10 ** n).toFixed(6)))) ?? 3;
    return iso.slice(11, decimals ? 20 + decimals : 19);
  };
  // Labels of marks, with the day, or the year of days, where it begins or changes.
  const times = (_, marks, __, ___, step) => {
    let shown = "";
    return marks.map((seconds) => {
      const iso = isoOf(seconds);
      const day = `${Number(iso.slice(8, 10))} ${MONTHS[Number(iso.slice(5, 7)) - 1]}`;
      const [label, of] = step >= DAY_S ? [day, iso.slice(0, 4)] : [clock(iso, step), day];
      const isNew = of !== shown;
      shown = of;
      return isNew ? `${label}\n${of}` : label;
    });
  };
  // Pixels between marks: as many as the longest label needs, which has a fraction of a second.
  const space = (_, __, first, last, pixels) => ((last - first) * 70 < pixels ? 96 : 70);
  const steps = (points) => points.slice(1).map((at, index) => at - points[index]);
  const time = (points, at) => {
    const iso = isoOf(points[at]);
    return `${iso.slice(0, 10)} ${clock(iso, Math.min(...steps(points)))} UTC`;
  };

  const axes = (format) => [
    { values: times, space, stroke: color("soft"), grid: { stroke: color("border"), width: 1 }, ticks: { stroke: color("border") } },
    { stroke: color("soft"), grid: { stroke: color("border"), width: 1 }, ticks: { stroke: color("border") }, size: 64, values: (_, marks) => marks.map(format) },
  ];

  // Numbered marks of what happened, the planned end, and the line of "no difference".
  const annotate = (data, hasZero) => (u) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = color("soft");
    ctx.fillStyle = color("text");
    ctx.lineWidth = devicePixelRatio;
    ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    const vertical = (at, dash) => {
      const x = Math.round(u.valToPos(at, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) return null;
      ctx.setLineDash(dash.map((each) => each * devicePixelRatio));
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      return x;
    };
    // With an outline, since it stands on the colors of the variants.
    const label = (text, x) => {
      const y = bbox.top + 12 * devicePixelRatio;
      ctx.save();
      ctx.setLineDash([]);
      ctx.strokeStyle = color("card");
      ctx.lineWidth = 4 * devicePixelRatio;
      ctx.lineJoin = "round";
      ctx.strokeText(text, x, y);
      ctx.restore();
      ctx.fillText(text, x, y);
    };
    data.marks.forEach((at, index) => {
      const x = vertical(at, [2, 3]);
      if (x !== null) label(String(index + 1), x);
    });
    if (hasZero && data.planned !== null) vertical(data.planned, [6, 4]);
    if (hasZero) {
      const y = Math.round(u.valToPos(0, "y", true));
      ctx.setLineDash([]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
    ctx.restore();
  };

  const range = (data) => {
    const [first, last] = [data.times[0], data.times[data.times.length - 1]];
    const isNear = data.planned !== null && data.planned - first <= 3 * (last - first);
    return [first, isNear ? data.planned : last];
  };

  const common = (width, data) => ({
    width,
    height: HEIGHT,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { size: 7 } },
  });

  const differenceOf = (element, data) => {
    const own = color(data.colors[data.color]);
    const [low, high] = data.range;
    const line = (stroke, width) => ({ stroke, width, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) });
    return new uPlot(
      {
        ...common(element.clientWidth, data),
        scales: { x: { range: range(data) }, y: { range: [low, high], dir: data.isMirrored ? -1 : 1 } },
        axes: axes(mark),
        series: [{}, line(own, 1), line(own, 1), line(own, 2)],
        bands: [{ series: [1, 2], fill: `${own}2b` }],
        hooks: { draw: [annotate(data, true)] },
      },
      [data.times, data.upper, data.lower, data.difference],
      element,
    );
  };

  const trafficOf = (element, data) => {
    const sums = data.times.map(() => 0);
    const stacked = data.shares.map((line) => line.map((value, at) => (sums[at] += value)));
    const series = stacked.map((_, index) => ({
      stroke: color("card"),
      width: 2,
      fill: color(data.colors[index]),
      points: { show: false },
      paths: uPlot.paths.stepped({ align: 1 }),
    }));
    return new uPlot(
      {
        ...common(element.clientWidth, data),
        scales: { x: { range: [data.times[0], data.times[data.times.length - 1]] }, y: { range: [0, 1] } },
        axes: axes(share),
        // The highest sum first, so that the lower ones are drawn over it.
        series: [{}, ...series.reverse()],
        hooks: { draw: [annotate(data, false)] },
      },
      [data.times, ...stacked.reverse()],
      element,
    );
  };

  const readouts = {
    difference: (data, at) => {
      const shown = (value) => {
        if (value === null) return "–";
        if (value !== 0 && Math.abs(value) < 1e-6) return value < 0 ? ">−0.000001" : "<0.000001";
        return signed(value, 3);
      };
      return `${time(data.times, at)}: ${data.variant} ${shown(data.difference[at])} ${data.unit}, from ${shown(data.lower[at])} to ${shown(data.upper[at])}`;
    },
    traffic: (data, at) =>
      `${time(data.times, at)}: ${data.names.map((name, index) => `${name} ${share(data.shares[index][at])}`).join(", ")}`,
  };

  const draw = () => {
    const source = document.getElementById("series-data");
    for (const plot of plots.values()) plot.destroy();
    plots.clear();
    if (!source) return;
    const data = JSON.parse(source.textContent);
    for (const [name, make] of [["difference", differenceOf], ["traffic", trafficOf]]) {
      const element = document.getElementById(`plot-${name}`);
      const plot = make(element, data);
      const readout = document.getElementById(`read-${name}`);
      const read = (at) => {
        plot.setCursor({ left: plot.valToPos(data.times[at], "x"), top: HEIGHT / 3 });
        readout.textContent = readouts[name](data, at);
      };
      let at = data.times.length - 1;
      element.onkeydown = (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
        if (step === undefined) return;
        event.preventDefault();
        at = Math.min(Math.max(at + step, 0), data.times.length - 1);
        read(at);
      };
      element.onmousemove = () => {
        if (plot.cursor.idx !== null && plot.cursor.idx !== undefined) {
          at = plot.cursor.idx;
          readout.textContent = readouts[name](data, at);
        }
      };
      plots.set(name, plot);
    }
  };

  let width = 0;
  const redraw = () => {
    const element = document.getElementById("plot-difference");
    if (element && element.clientWidth !== width) {
      width = element.clientWidth;
      draw();
    }
  };
  document.addEventListener("DOMContentLoaded", draw);
  window.addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  document.addEventListener("htmx:after:swap", (event) => {
    if (event.target && event.target.id === "series") draw();
  });
})();
