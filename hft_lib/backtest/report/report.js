// Pointing at a figure, or the arrow keys on it, reads the values at one time.
(() => {
  "use strict";
  const STEP_PX = 4, NEAR_PX = 7;
  const two = (n) => String(n).padStart(2, "0");

  function time(ms) {
    const d = new Date(ms);
    const day = `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}`;
    const clock = `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`;
    const s = d.getUTCSeconds() + d.getUTCMilliseconds() / 1000;
    return `${day} ${clock}${s ? ":" + (s < 10 ? "0" : "") + Number(s.toFixed(3)) : ""} UTC`;
  }

  function value(v, unit) {
    if (unit.startsWith("log10p1:")) { v = 10 ** v - 1; unit = unit.slice(8); }
    const size = Math.abs(v);
    const text = size !== 0 && (size < 1e-4 || size >= 1e9)
      ? v.toExponential(5)
      : v.toLocaleString("en", { maximumSignificantDigits: 7 });
    return text.replace("-", "\u2212") + (unit ? "\u00a0" + unit : "");
  }

  function times(clock) {
    const all = new Float64Array(clock.steps.length + 1);
    all[0] = clock.start;
    clock.steps.forEach((step, i) => { all[i + 1] = all[i] + step * clock.unit; });
    return all;
  }

  function nearest(all, at) {
    let low = 0, high = all.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (all[middle] < at) low = middle + 1; else high = middle;
    }
    return low > 0 && at - all[low - 1] < all[low] - at ? low - 1 : low;
  }

  function height(box, v) {
    const [, top, , tall, , , low, high, log] = box;
    const f = log ? Math.log : (x) => x;
    const y = top + tall * (1 - (f(v) - f(low)) / (f(high) - f(low)));
    return y >= top - 1 && y <= top + tall + 1 ? y : null;
  }

  function setUp(figure) {
    const data = JSON.parse(figure.querySelector(".numbers").textContent);
    const clocks = data.clocks.map(times);
    const cursor = figure.querySelector(".cursor"), reading = figure.querySelector(".reading");
    const shown = () => [...figure.querySelectorAll("svg")].find((svg) => svg.getBoundingClientRect().width > 0);
    let at = null;

    function read(svg, boxes) {
      const [, , wide, , start, end] = boxes[0];
      const near = NEAR_PX * (end - start) / wide;
      const rows = [], dots = [], reach = 4 * near;
      data.panels.forEach((panel, p) => {
        panel.series.forEach((series) => {
          const clock = clocks[series.clock], i = nearest(clock, at), v = series.values[i];
          if (v === null || v === undefined) return;
          if (at < clock[0] - reach || at > clock[clock.length - 1] + reach) return;
          rows.push([series.color, `${series.name}: ${value(v, series.unit)}`]);
          const y = height(boxes[p], v);
          if (y !== null) dots.push([series.color, y]);
        });
        panel.marks.filter((mark) => Math.abs(mark[0] - at) <= near).slice(0, 4)
          .forEach((mark) => rows.push(["", `${time(mark[0])}: ${mark[2]}`]));
      });
      return { rows: rows.filter((row, i) => rows.findIndex((other) => other[1] === row[1]) === i), dots };
    }

    function draw(svg, boxes, x, dots) {
      const space = "http://www.w3.org/2000/svg";
      svg.querySelector(".hair")?.remove();
      const hair = document.createElementNS(space, "g");
      hair.setAttribute("class", "hair");
      const last = boxes[boxes.length - 1];
      const line = document.createElementNS(space, "path");
      line.setAttribute("d", `M${x} ${boxes[0][1]}V${last[1] + last[3]}`);
      hair.append(line);
      dots.forEach(([color, y]) => {
        const dot = document.createElementNS(space, "circle");
        dot.setAttribute("cx", x); dot.setAttribute("cy", y); dot.setAttribute("r", 3.5);
        dot.style.fill = color;
        hair.append(dot);
      });
      svg.append(hair);
    }

    function show(ms) {
      const svg = shown();
      if (!svg) return;
      const boxes = JSON.parse(svg.dataset.boxes);
      const [left, , wide, , start, end] = boxes[0];
      at = Math.min(Math.max(ms, start), end);
      const main = clocks.reduce((a, b) => (b.length > a.length ? b : a), clocks[0] || [at]);
      const when = main.length ? main[nearest(main, at)] : at;
      const { rows, dots } = read(svg, boxes);
      const x = left + wide * (at - start) / (end - start);
      draw(svg, boxes, x, dots);
      reading.replaceChildren();
      const head = document.createElement("b");
      head.textContent = time(when);
      reading.append(head);
      rows.forEach(([color, text]) => {
        const row = document.createElement("span");
        row.textContent = text;
        if (color) { row.className = "key"; row.style.setProperty("--key", color); }
        reading.append(row);
      });
      reading.hidden = false;
      const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
      const room = figure.querySelector(".plot").clientWidth, own = reading.offsetWidth;
      const side = x * scale + own + 18 < room ? x * scale + 12 : x * scale - own - 12;
      reading.style.left = `${Math.max(0, Math.min(side, room - own))}px`;
      cursor.setAttribute("aria-valuemin", start);
      cursor.setAttribute("aria-valuemax", end);
      cursor.setAttribute("aria-valuenow", Math.round(at));
      cursor.setAttribute("aria-valuetext", [time(when), ...rows.map((row) => row[1])].join(", "));
    }

    function hide() {
      reading.hidden = true;
      figure.querySelectorAll(".hair").forEach((hair) => hair.remove());
    }

    function pointed(event) {
      const svg = shown();
      if (!svg) return;
      const frame = svg.getBoundingClientRect(), boxes = JSON.parse(svg.dataset.boxes);
      const [left, , wide, , start, end] = boxes[0];
      const x = (event.clientX - frame.left) * svg.viewBox.baseVal.width / frame.width;
      show(start + (end - start) * (x - left) / wide);
    }

    cursor.addEventListener("pointermove", pointed);
    cursor.addEventListener("pointerdown", pointed);
    cursor.addEventListener("pointerleave", hide);
    cursor.addEventListener("blur", hide);
    cursor.addEventListener("keydown", (event) => {
      const svg = shown();
      if (!svg) return;
      const [, , wide, , start, end] = JSON.parse(svg.dataset.boxes)[0];
      const step = STEP_PX * (end - start) / wide;
      const from = at === null ? start : at;
      const to = {
        ArrowLeft: from - step, ArrowRight: from + step, ArrowDown: from - step, ArrowUp: from + step,
        PageDown: from - 20 * step, PageUp: from + 20 * step, Home: start, End: end,
      }[event.key];
      if (event.key === "Escape") hide();
      if (to === undefined) return;
      event.preventDefault();
      show(to);
    });
  }

  document.querySelectorAll("figure").forEach(setUp);
})();
