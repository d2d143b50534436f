/* The pictures of the circle, in SVG: curves and labels by angle, and below them the clocks of the spectrum. */
"use strict";

globalThis.circlePicture = (() => {
  // as in book/jacntk_book/plotting.py
  const COLOURS = {
    ink: "#1b1b1b", reference: "#767676", network: "#2a8fd0",
    plain: "#cc79a7", penalised: "#00664b", jacobian: "#d98200",
  };
  const SHOWN = 2.6; // the picture shows values within +-SHOWN
  const ROUND = Array.from({ length: 181 }, (_, i) => 2 * i), COARSE = ROUND.filter(degrees => degrees % 4 === 0);
  const DRAWN = new Set(["svg", "g", "path", "circle", "rect", "text", "clipPath", "defs"]);

  /* A new element at the end of `parent`. */
  function element(parent, tag, attributes = {}, text = "") {
    const made = DRAWN.has(tag)
      ? document.createElementNS("http://www.w3.org/2000/svg", tag)
      : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text) made.textContent = text;
    parent.append(made);
    return made;
  }

  const line = (stroke, width, more = {}) => ({ fill: "none", stroke, "stroke-width": width, ...more });
  const DOTTED = line(COLOURS.plain, 1.5, { "stroke-dasharray": "3 3" });
  const SLOPE = line(COLOURS.jacobian, 4, { "stroke-linecap": "round" });
  const TRAINED = line(COLOURS.network, 1.2);

  /* A number in few characters. */
  function short(x) {
    if (x === Infinity) return "∞";
    return x >= 1e5 || (x > 0 && x < 1e-3) ? x.toExponential(1).replace("e+", "e") : `${+x.toPrecision(2)}`;
  }

  /* A number with a true minus sign, and none before zero. */
  function signed(x, digits = 2) {
    const text = Math.abs(x).toFixed(digits);
    return (x < 0 && +text ? "−" : "") + text;
  }

  class Picture {
    /* `times` are the positions of the slider below the clocks: [first, ..., last finite, Infinity], evenly spaced
       logarithms. */
    constructor(id, plot, key, clocks, times) {
      Object.assign(this, { id, plot, key, clocks, times });
    }

    // ---------------------------------------------------------- what depends on the width alone

    lay(width) {
      const height = Math.min(330, Math.max(220, Math.round(0.45 * width)));
      const left = 34, right = width - 12, top = 8, bottom = height - 40, middle = (top + bottom) / 2;
      const unit = (bottom - top) / 2 / SHOWN, round = number => Math.round(10 * number) / 10;
      this.frame = {
        width, left, right, middle, unit,
        x: degrees => round(left + (right - left) * degrees / 360),
        y: value => round(middle - unit * Math.min(3 * SHOWN, Math.max(-3 * SHOWN, value))),
      };
      const plot = this.plot;
      plot.textContent = "";
      plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
      this.layAxes(bottom);
      const clip = element(element(plot, "defs"), "clipPath", { id: `${this.id}-clip` });
      element(clip, "rect", { x: left, y: top, width: right - left, height: bottom - top });
      const curves = element(plot, "g", { "clip-path": `url(#${this.id}-clip)`, "aria-hidden": "true" });
      this.band = element(curves, "path", { "fill-opacity": 0.2, "data-curve": "band" });
      this.plain = element(curves, "path", DOTTED);
      this.trained = element(curves, "path", { ...TRAINED, "data-curve": "trained" });
      this.network = element(curves, "path", line("", 3, { "data-curve": "network" }));
      this.slopes = element(curves, "path", SLOPE);
      this.again = element(plot, "path", line(COLOURS.reference, 1.5, { "aria-hidden": "true" }));
      this.layClocks(width);
    }

    layAxes(bottom) {
      const { x, y, left, right } = this.frame, axes = element(this.plot, "g", { "aria-hidden": "true" });
      for (const value of [-2, -1, 0, 1, 2]) {
        element(axes, "path", { d: `M${left} ${y(value)}H${right}`, stroke: value ? "#e4e4e4" : "#aaa" });
        element(axes, "text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, signed(value, 0));
      }
      for (const degrees of [0, 90, 180, 270, 360]) {
        element(axes, "text", { x: x(degrees), y: bottom + 16, "text-anchor": "middle" }, `${degrees}°`);
      }
      element(axes, "text", { x: x(180), y: bottom + 34, "text-anchor": "middle" }, "angle on the circle");
    }

    layClocks(width) {
      const left = 42, right = width - 14, bottom = 46, { clocks, times } = this, last = times.length - 1;
      const perStep = Math.log(times[1] / times[0]);
      const x = time => {
        const step = Math.log(time / times[0]) / perStep;
        return left + (right - left) * Math.min(1, Math.max(0, step / last));
      };
      clocks.textContent = "";
      clocks.setAttribute("viewBox", `0 0 ${width} 66`);
      for (const [time, text] of [[0.1, "0.1"], [10, "10"], [1e3, "1000"], [1e5, "10⁵"], [Infinity, "∞"]]) {
        element(clocks, "path", { d: `M${x(time)} ${bottom}v5`, stroke: COLOURS.ink });
        element(clocks, "text", { x: x(time), y: bottom + 18, "text-anchor": "middle" }, text);
      }
      element(clocks, "path", { d: `M${left} ${bottom}H${right}`, stroke: COLOURS.ink });
      element(clocks, "text", { x: 0, y: 28 }, "clocks");
      this.waiting = element(clocks, "path", line(COLOURS.reference, 2));
      this.learnt = element(clocks, "path", line(COLOURS.penalised, 2));
      this.now = element(clocks, "path", line(COLOURS.network, 2, { "stroke-dasharray": "4 2" }));
      this.clockFrame = { x, left, right, bottom };
    }

    // ---------------------------------------------------------- what changes

    /* network, plain: functions of the angle, as circleKernel.predictor gives them; plain is null without a penalty.
       deviations: half the band at the angles COARSE, or null. trained: { curves, step, width, time } of networks of
       finite width, or null. */
    drawCurves({ network, plain, deviations, trained }) {
      const { x, y } = this.frame, colour = plain ? COLOURS.penalised : COLOURS.plain;
      const curve = of => "M" + ROUND.map(at => `${x(at)} ${y(of(at)[0])}`).join("L");
      this.network.setAttribute("d", curve(network));
      this.network.setAttribute("stroke", colour);
      this.plain.setAttribute("d", plain ? curve(plain) : "");
      this.band.setAttribute("fill", colour);
      const edge = sign => COARSE.map((at, i) => `${x(at)} ${y(network(at)[0] + sign * deviations[i])}`);
      this.band.setAttribute("d", deviations ? "M" + [...edge(1), ...edge(-1).reverse()].join("L") + "Z" : "");
      const points = values => values.map((value, i) => `${x(trained.step * i)} ${y(value)}`).join("L");
      this.trained.setAttribute("d", trained ? "M" + trained.curves.map(points).join("M") : "");
    }

    /* The handles go where the labels are, and a short line shows the network's slope there. */
    drawLabels(labels, handles, network) {
      const { x, y, unit } = this.frame, perRadian = (x(360) - x(0)) / (2 * Math.PI);
      let slopes = "", again = "";
      labels.forEach(({ angle, value }, i) => {
        const [height, , slope] = network(angle), tilt = -slope * unit / perRadian, half = 16 / Math.hypot(1, tilt);
        for (const at of angle ? [angle] : [0, 360]) {
          slopes += `M${x(at) - half} ${y(height) - half * tilt}L${x(at) + half} ${y(height) + half * tilt}`;
        }
        if (!angle) again += `M${x(360) - 6} ${y(value)}a6 6 0 1 0 12 0a6 6 0 1 0 -12 0`; // the circle closes
        handles[i].setAttribute("transform", `translate(${x(angle)} ${y(value)})`);
      });
      this.slopes.setAttribute("d", slopes);
      this.again.setAttribute("d", again);
    }

    /* One tick per mode at its time constant, the taller the more of the labels lies in it (its coordinate). */
    drawClocks(timeConstants, coordinates, time) {
      const { x, bottom } = this.clockFrame, ticks = { learnt: "", waiting: "" };
      const most = Math.max(...coordinates.map(Math.abs)) || 1, slowestShown = this.times.at(-2) * 1.2;
      timeConstants.forEach((constant, i) => {
        const at = x(Math.min(constant, slowestShown)).toFixed(1), size = 4 + 34 * Math.abs(coordinates[i]) / most;
        ticks[isLearnt(constant, time) ? "learnt" : "waiting"] += `M${at} ${bottom}v${-size.toFixed(1)}`;
      });
      this.learnt.setAttribute("d", ticks.learnt);
      this.waiting.setAttribute("d", ticks.waiting);
      this.now.setAttribute("d", `M${x(time).toFixed(1)} 2V${bottom + 5}`);
      this.clocks.setAttribute("aria-label", `Time constants of ${timeConstants.length} modes, from ` +
        `${short(timeConstants[0])} to ${short(timeConstants.at(-1))}, on a logarithmic axis.`);
    }

    drawKey({ plain, deviations, trained }, kappa) {
      const state = [!plain, !deviations, trained?.time].join();
      if (state === this.keyed) return;
      this.keyed = state;
      this.key.textContent = "";
      const colour = plain ? COLOURS.penalised : COLOURS.plain;
      const entry = (text, style) => {
        const item = element(this.key, "span"), mark = element(item, "svg", { viewBox: "0 0 26 10", height: 10 });
        element(mark, "path", { d: "M0 5H26", ...style });
        item.append(` ${text}`);
      };
      entry(`infinitely wide network${plain ? "" : ", λ = 0"}`, line(colour, 3));
      if (plain) entry("the same, λ = 0", DOTTED);
      entry("slope at the labels", SLOPE);
      if (deviations) entry(`95 % of random starts (κ = ${kappa})`, line(colour, 10, { "stroke-opacity": 0.2 }));
      if (trained) entry(`networks of width ${trained.width} at time ${short(trained.time)}`, TRAINED);
    }
  }

  /* A mode counts as learnt when its time constant has passed. */
  const isLearnt = (constant, time) => constant <= time && constant < Infinity;

  return { Picture, ROUND, COARSE, SHOWN, element, isLearnt, short, signed };
})();
