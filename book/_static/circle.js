/* The circle: labels to drag, and the infinitely wide network that follows them. circle-kernel.js computes it,
   circle-picture.js draws it.

   Every <div class="circle"> becomes one. Its data attributes, which book/_ext/jacntk_circle.py writes, set the start:
   labels, as "0:1 80:-1" (degrees:value), lambda, time (kappa^2 t, or "inf"), depth, activation, kappa, band, and in
   front the names of the controls that are not folded away. */
"use strict";

(() => {
  const { Picture, ROUND, COARSE, SHOWN, element, isLearnt, short, signed } = circlePicture;
  const LAMBDAS = [0, ...Array.from({ length: 33 }, (_, k) => +(10 ** (k / 8 - 3)).toPrecision(4))];
  const TIMES = [...Array.from({ length: 49 }, (_, k) => 10 ** (k / 6 - 1)), Infinity], NEVER = TIMES.length - 1;
  const HIGHEST = 2, STEP = 0.05, MOST = 30; // labels are within +-HIGHEST, in STEPs, and no more than MOST
  const NAMES = { erf: "erf", gelu: "GELU" };
  const HOW = "Drag a dot up or down to change its label, sideways to move it. On the keyboard: Tab to a dot, then " +
    "arrow keys, Delete to remove it.";
  let made = 0;

  const nearest = (list, x) =>
    list.reduce((best, one, i) => (Math.abs(one - x) < Math.abs(list[best] - x) ? i : best), 0);
  const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

  class Circle {
    constructor(root) {
      this.root = root;
      const { labels, lambda, time, depth, activation, kappa, band } = root.dataset;
      this.kappa = +kappa;
      this.start = {
        labels: labels.split(" ").map(pair => ({ angle: +pair.split(":")[0], value: +pair.split(":")[1] })),
        lambda: nearest(LAMBDAS, +lambda), // lambda and time are positions in their lists
        time: time === "inf" ? NEVER : nearest(TIMES.slice(0, -1).map(Math.log), Math.log(+time)),
        depth: +depth, activation, band: band === "on", networks: false,
      };
      const stored = globalThis.circleNetworks, same = name => stored[name] === root.dataset[name];
      this.stored = stored && ["labels", "depth", "activation", "kappa"].every(same) ? stored : null;
      this.id = `circle-${++made}`;
      this.build();
      this.reset();
      new ResizeObserver(() => { if (this.width() !== this.picture.frame?.width) this.schedule(); }).observe(root);
    }

    reset() {
      this.state = structuredClone(this.start);
      this.rebuilt = true;
      this.chosen = 0;
      for (const name of Object.keys(this.controls)) this.showControl(name);
      this.draw();
    }

    width() {
      const { paddingLeft, paddingRight } = getComputedStyle(this.root);
      return Math.round(this.root.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight));
    }

    // ---------------------------------------------------------- what is there

    build() {
      const { root, id } = this;
      root.textContent = "";
      const plot = element(root, "svg", { role: "group", "aria-label": "Value of the network by angle on the circle" });
      const key = element(root, "div", { class: "circle-key", "aria-hidden": "true" });
      const row = element(root, "div", { class: "circle-row" });
      this.timeLabel = element(row, "label", { for: `${id}-time` });
      this.play = element(row, "button", { type: "button" }, "Play");
      this.play.hidden = matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.picture = new Picture(id, plot, key, element(root, "svg", { role: "img" }), TIMES);
      const range = { type: "range", min: 0, max: NEVER };
      const time = element(root, "input", { id: `${id}-time`, class: "circle-time", ...range });
      this.controls = { time };
      this.buildControls(root.dataset.front.split(" "));
      this.said = element(root, "p", { class: "circle-said" });
      element(root, "p", { id: `${id}-how`, class: "circle-said circle-how" }, HOW);
      this.live = element(root, "p", { class: "circle-unseen", role: "status" });
      time.addEventListener("input", () => { this.pause(); this.set("time", +time.value); });
      this.play.addEventListener("click", () => (this.timer ? this.pause() : this.run()));
      plot.addEventListener("dblclick", event => this.addAt(event));
    }

    buildControls(front) {
      const row = element(this.root, "div", { class: "circle-row" }), folded = element(this.root, "details");
      element(folded, "summary", {}, "More settings");
      const more = element(folded, "div", { class: "circle-row" });
      const place = name => (front.includes(name) ? row : more);
      const control = (name, tag, attributes, text, className = "") => {
        const label = element(place(name), "label", { class: className });
        if (text) label.append(text);
        const input = this.controls[name] = element(label, tag, attributes);
        const value = () => (tag === "select" ? input.value : input.type === "checkbox" ? input.checked : +input.value);
        input.addEventListener("input", () => this.set(name, value()));
        return label;
      };
      for (const [name, text, min, max] of [["lambda", "λ", 0, LAMBDAS.length - 1], ["depth", "depth", 1, 6]]) {
        const label = control(name, "input", { type: "range", min, max }, text, "circle-wide");
        this.controls[name].shown = element(label, "span", { class: "circle-number" });
      }
      control("activation", "select", {}, "activation");
      for (const [value, text] of Object.entries(NAMES)) element(this.controls.activation, "option", { value }, text);
      control("band", "input", { type: "checkbox" }).append("band: 95 % of random starts");
      if (this.stored) control("networks", "input", { type: "checkbox" }).append("trained networks");
      const edit = element(place("edit"), "span", { class: "circle-row" });
      const button = (text, action) => {
        const made = element(edit, "button", { type: "button" }, text);
        made.addEventListener("click", action);
        return made;
      };
      this.add = button("Add a label", () => this.addInGap());
      this.drop = button("Remove label", () => this.remove(this.chosen));
      button("Start again", () => { this.pause(); this.reset(); });
      if (!more.childElementCount) folded.remove();
    }

    showControl(name) {
      const input = this.controls[name], value = this.state[name];
      if (input.type === "checkbox") input.checked = value;
      else input.value = value;
      if (input.shown) input.shown.textContent = name === "lambda" ? short(LAMBDAS[value]) : value;
      if (name === "lambda") input.setAttribute("aria-valuetext", `lambda ${short(LAMBDAS[value])}`);
      if (name !== "time") return;
      input.setAttribute("aria-valuetext", this.when());
      this.timeLabel.textContent = `time κ²t = ${short(TIMES[value])}`;
    }

    /* The axes for the width there is, and a handle for every label. */
    lay() {
      const { picture, controls, state } = this, focused = this.handles?.indexOf(document.activeElement) ?? -1;
      this.rebuilt = false;
      picture.lay(this.width());
      this.handles = state.labels.map((_, i) => this.handle(i));
      this.choose(Math.min(this.chosen, state.labels.length - 1));
      if (focused >= 0) this.handles[this.chosen].focus();
      this.add.disabled = state.labels.length >= MOST;
      this.drop.disabled = state.labels.length === 1;
      // the thumb of a slider is about 16 pixels wide: its middle is to be below the line of the clocks
      const { left, right } = picture.clockFrame;
      Object.assign(controls.time.style, { marginLeft: `${left - 8}px`, width: `${right - left + 16}px` });
    }

    handle(i) {
      const handle = element(this.picture.plot, "g", {
        class: "circle-label", role: "slider", tabindex: 0, "aria-orientation": "vertical",
        "aria-valuemin": -HIGHEST, "aria-valuemax": HIGHEST, "aria-describedby": `${this.id}-how`,
      });
      element(handle, "circle", { r: 16, fill: "transparent" });
      element(handle, "circle", { r: 6.5, class: "circle-dot" });
      handle.addEventListener("focus", () => this.choose(i));
      handle.addEventListener("keydown", event => this.press(event, i));
      handle.addEventListener("pointerdown", event => this.hold(event, i, handle));
      handle.addEventListener("touchstart", event => event.preventDefault(), { passive: false }); // or the page scrolls
      return handle;
    }

    // ---------------------------------------------------------- what changes it

    set(name, value) {
      this.state[name] = value;
      this.showControl(name);
      this.schedule();
    }

    run() {
      if (this.state.time === NEVER) this.set("time", 0);
      this.play.textContent = "Pause";
      this.timer = setInterval(() => {
        this.set("time", this.state.time + 1);
        if (this.state.time === NEVER) this.pause();
      }, 100);
    }

    pause() {
      clearInterval(this.timer);
      this.timer = null;
      this.play.textContent = "Play";
    }

    /* A label's new value and angle, within what is allowed. */
    change(i, value, angle) {
      const label = this.state.labels[i], steps = Math.round(Math.min(HIGHEST, Math.max(-HIGHEST, value)) / STEP);
      label.value = +(steps * STEP).toFixed(2);
      label.angle = (Math.round(angle) % 360 + 360) % 360;
      this.schedule();
    }

    addLabel(angle, value) {
      const { labels } = this.state;
      if (labels.length >= MOST) return;
      labels.push({ angle: 0, value: 0 });
      this.rebuilt = true;
      this.chosen = labels.length - 1;
      this.change(this.chosen, value, angle);
    }

    /* In the middle of the largest gap, at the value that the network has there. */
    addInGap() {
      const angles = this.state.labels.map(label => label.angle).sort((a, b) => a - b);
      const gaps = angles.map((angle, i) => (angles[i + 1] ?? angles[0] + 360) - angle);
      const i = gaps.indexOf(Math.max(...gaps)), angle = Math.round(angles[i] + gaps[i] / 2);
      this.addLabel(angle, this.network(angle)[0]);
    }

    addAt(event) {
      if (event.target.closest(".circle-label")) return;
      const box = this.picture.plot.getBoundingClientRect(), { left, right, middle, unit } = this.picture.frame;
      const angle = 360 * (event.clientX - box.left - left) / (right - left);
      if (angle >= 0 && angle <= 360) this.addLabel(angle, (middle - (event.clientY - box.top)) / unit);
    }

    remove(i) {
      if (this.state.labels.length === 1) return;
      this.state.labels.splice(i, 1);
      this.chosen = Math.max(0, i - 1);
      this.rebuilt = true;
      this.schedule();
    }

    choose(i) {
      this.chosen = i;
      this.drop.textContent = `Remove label ${i + 1}`;
    }

    press(event, i) {
      const { value, angle } = this.state.labels[i], degrees = event.shiftKey ? 10 : 1;
      const up = by => () => this.change(i, value + by, angle), along = by => () => this.change(i, value, angle + by);
      const action = {
        ArrowUp: up(STEP), ArrowDown: up(-STEP), PageUp: up(0.5), PageDown: up(-0.5), Home: up(-2 * HIGHEST),
        End: up(2 * HIGHEST), ArrowRight: along(degrees), ArrowLeft: along(-degrees),
        Delete: () => this.remove(i), Backspace: () => this.remove(i),
      }[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    }

    /* Up and down, or sideways: the first few pixels decide which, so that neither changes with the other. */
    hold(event, i, handle) {
      if (event.button) return;
      const { value, angle } = this.state.labels[i], { left, right, unit } = this.picture.frame;
      const { clientX, clientY } = event;
      let axis = null;
      const move = event => {
        const dx = event.clientX - clientX, dy = event.clientY - clientY;
        if (!axis && Math.hypot(dx, dy) > 4) axis = Math.abs(dx) > Math.abs(dy) ? "along" : "up";
        if (axis === "up") this.change(i, value - dy / unit, angle);
        if (axis === "along") this.change(i, value, angle + 360 * dx / (right - left));
      };
      event.preventDefault();
      handle.focus();
      handle.classList.add("held");
      handle.setPointerCapture(event.pointerId);
      handle.addEventListener("pointermove", move);
      handle.addEventListener("lostpointercapture", () => {
        handle.classList.remove("held");
        handle.removeEventListener("pointermove", move);
      }, { once: true });
    }

    // ---------------------------------------------------------- what it computes and shows

    schedule() {
      this.pending ??= requestAnimationFrame(() => this.draw());
    }

    draw() {
      cancelAnimationFrame(this.pending);
      this.pending = null;
      if (!this.root.clientWidth) return; // not shown, in something folded: until the observer says otherwise
      if (this.rebuilt || this.width() !== this.picture.frame.width) this.lay();
      const { labels } = this.state, time = TIMES[this.state.time], values = labels.map(label => label.value);
      this.solve(time);
      this.network = circleKernel.predictor(this.system, values, time);
      const curves = {
        network: this.network,
        plain: this.system === this.plainSystem ? null : circleKernel.predictor(this.plainSystem, values, time),
        deviations: this.state.band ? this.deviations : null,
        trained: this.trained(),
      };
      this.picture.drawCurves(curves);
      this.picture.drawKey(curves, this.kappa);
      this.picture.drawLabels(labels, this.handles, this.network);
      this.picture.drawClocks(this.system.timeConstants, circleKernel.coordinates(this.system, values), time);
      this.say();
    }

    /* The spectra with and without penalty, and the band, which do not depend on the values of the labels. */
    solve(time) {
      const { labels, depth, activation, band } = this.state, lambda = LAMBDAS[this.state.lambda];
      const angles = labels.map(label => label.angle), problem = [angles, depth, activation, lambda].join();
      if (problem !== this.solved) {
        this.solved = problem;
        this.system = circleKernel.spectrum({ angles, activation, depth, lambda });
        this.plainSystem = lambda ? circleKernel.spectrum({ angles, activation, depth, lambda: 0 }) : this.system;
      }
      if (!band || this.spread === `${problem} ${time}`) return;
      this.spread = `${problem} ${time}`;
      this.deviations = COARSE.map(circleKernel.spread(this.system, time)).map(one => 1.96 * this.kappa * one);
    }

    /* Networks of finite width at the stored time nearest to the present one, where there are any for this state. */
    trained() {
      const { stored, start, state } = this, setting = ({ labels, depth, activation }) => [labels, depth, activation];
      const i = state.networks ? stored.lambdas.indexOf(LAMBDAS[state.lambda]) : -1;
      if (i < 0 || JSON.stringify(setting(state)) !== JSON.stringify(setting(start))) return null;
      const k = nearest(stored.times.map(Math.log), Math.log(Math.min(TIMES[state.time], stored.times.at(-1))));
      const curves = stored.hundredths[i][k].map(curve => curve.map(value => value / 100));
      return { curves, step: stored.step, width: stored.width, time: stored.times[k] };
    }

    // ---------------------------------------------------------- what it says

    when() {
      const time = TIMES[this.state.time];
      return time === Infinity ? "infinite time" : `time ${short(time)}`;
    }

    say() {
      const { labels } = this.state;
      let miss = 0, steepest = 0;
      labels.forEach(({ angle, value }, i) => {
        const [height, , slope] = this.network(angle), handle = this.handles[i];
        miss = Math.max(miss, Math.abs(height - value));
        steepest = Math.max(steepest, Math.abs(slope));
        handle.setAttribute("aria-label", `Label ${i + 1} at ${angle} degrees`);
        handle.setAttribute("aria-valuenow", value);
        handle.setAttribute("aria-valuetext", `${signed(value)}; network ${signed(height)}, slope ${signed(slope)}`);
      });
      this.said.textContent = [
        `${this.settings()}: the network misses the labels by at most ${miss.toFixed(2)}, and its slope there is at ` +
        `most ${steepest.toFixed(2)} per radian.`,
        this.excess(), this.modes(), this.contradiction(), this.absence(),
      ].filter(Boolean).join(" ");
      clearTimeout(this.resting);
      this.resting = setTimeout(() => { this.live.textContent = this.said.textContent; }, 600);
    }

    settings() {
      const { labels, lambda, depth, activation } = this.state;
      return `${plural(labels.length, "label")}, ${NAMES[activation]}, ${plural(depth, "layer")}, ` +
        `λ = ${short(LAMBDAS[lambda])}, ${this.when()}`;
    }

    modes() {
      const { timeConstants } = this.system, slowest = timeConstants.at(-1), time = TIMES[this.state.time];
      const count = timeConstants.filter(constant => isLearnt(constant, time)).length;
      const last = slowest < Infinity ? `has time constant ${short(slowest)}` : "is too slow for float64 to resolve";
      return `${count} of ${plural(timeConstants.length, "mode")} learnt; the slowest ${last}.`;
    }

    excess() {
      const highest = Math.max(...ROUND.map(degrees => Math.abs(this.network(degrees)[0])));
      return highest > SHOWN ? `Between them it leaves the picture, up to a size of ${short(highest)}.` : "";
    }

    contradiction() {
      const { group, sign } = this.system.tied, { labels } = this.state, first = i => group.indexOf(group[i]);
      const j = labels.findIndex(({ value }, i) => Math.abs(value - sign[i] * labels[first(i)].value) > 1e-9);
      if (j < 0) return "";
      const why = sign[j] > 0 ? "share an angle" : "are opposite, where an erf network has opposite values";
      return `Labels ${first(j) + 1} and ${j + 1} ${why}, and contradict each other: the network settles between them.`;
    }

    absence() {
      if (!this.state.networks || this.trained()) return "";
      const at = this.stored.lambdas.join(" and ");
      return `The networks were trained on the first labels alone, with the first settings and λ = ${at}.`;
    }
  }

  const start = () => document.querySelectorAll("div.circle").forEach(root => { root.circle ??= new Circle(root); });
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
