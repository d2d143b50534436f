/* Infinitely wide networks on the unit circle, before anything is drawn: kernels, spectrum, training at every time.

   The same formulas as jacntk_lib's recursion.py, closed_forms.py and RobustFlow, for networks without bias whose
   activation is normalised and whose sigma_w is 1. tests/browser/test_circle_kernel.py compares the two.

   Angles are whole degrees. Derivatives are taken in the frame of each point: along the radius, and along the circle
   (per radian). A kernel's block of value and two derivatives then depends on the difference of two angles alone, and
   360 blocks are all there are. */
"use strict";

globalThis.circleKernel = (() => {
  const EPS = 2 ** -52;

  // ------------------------------------------------------------ Gaussian expectations K^ij(a, b, c), in closed form

  const erf = {
    odd: true,
    expectations(a, b, c) {
      const D = 1 + 2 * a + 2 * b + 4 * (a * b - c * c), i = 1 / D, root = Math.sqrt(D);
      const al = 1 + 2 * a, be = 1 + 2 * b, p = 4 / (Math.PI * root), cci = c * c * i;
      return {
        k00: (2 / Math.PI) * Math.atan2(2 * c, root), k11: p,
        k20: -2 * c * p / al, k02: -2 * c * p / be, k22: 4 * c * p * i,
        k31: -2 * p * i * be, k13: -2 * p * i * al, k33: 4 * p * i * (1 + 12 * cci),
        k42: -24 * c * p * i * i * be, k24: -24 * c * p * i * i * al,
      };
    },
    moment(a) {
      const root = Math.sqrt(1 + 4 * a);
      return [(2 / Math.PI) * Math.atan2(2 * a, root), 4 / (Math.PI * (1 + 2 * a) * root)];
    },
  };

  const gelu = {
    odd: false,
    expectations(a, b, c) {
      const det = a * b - c * c, al = 1 + a, be = 1 + b, D = al + b + det, i = 1 / D, root = Math.sqrt(D);
      const q = 1 / (2 * Math.PI * root), T = Math.atan2(root, -c) / (2 * Math.PI);
      const cc = c * c, cci = cc * i, s = 1 / al + 1 / be, w = 1 + al + be;
      const k20 = (b, al, be) => q / al * ((b + det) * (1 + be * i) - 2 * cc / al);
      const k31 = (al, be) => -q * c * (1 / al + 2 / (al * al) + (be / al + 1) * i + 3 * be * i * i);
      const k42 = be => q * i * (2 - be - 3 * be * w * i - 15 * be * cci * i);
      return {
        k00: c * T + q * (det + cc * s), k11: T + q * c * (s + i),
        k20: k20(b, al, be), k02: k20(a, be, al), k22: q * (1 + w * i + 3 * cci * i),
        k31: k31(al, be), k13: k31(be, al), k33: q * c * i * (1 + (9 + 3 * (al + be)) * i + 15 * cci * i),
        k42: k42(be), k24: k42(al),
      };
    },
    moment(a) {
      const al = 1 + a, D = 1 + 2 * a, root = Math.sqrt(D);
      const q = 1 / (2 * Math.PI * root), T = Math.atan2(root, -a) / (2 * Math.PI);
      return [a * T + 2 * q * a * a / al, T + q * a * (1 / al + 2 / (al * al) + 2 / D)];
    },
  };

  const activations = { erf, gelu };

  // ------------------------------------------------------------ the layer recursion, on jets in (A, B, C)

  const FIELDS = ["k", "A", "B", "C", "AB", "AC", "BC", "CC"];

  /* The jet of f(a, b, c) with da/dA = p, db/dB = r, and c the function whose jet is S. */
  function compose(f, fa, fb, fc, fab, fac, fbc, fcc, p, r, S) {
    return {
      k: f,
      A: fa * p + fc * S.A,
      B: fb * r + fc * S.B,
      C: fc * S.C,
      AB: fab * p * r + fac * p * S.B + fbc * r * S.A + fcc * S.A * S.B + fc * S.AB,
      AC: (fac * p + fcc * S.A) * S.C + fc * S.AC,
      BC: (fbc * r + fcc * S.B) * S.C + fc * S.BC,
      CC: fcc * S.C * S.C + fc * S.CC,
    };
  }

  function product(T, M) {
    return {
      k: T.k * M.k,
      A: T.A * M.k + T.k * M.A,
      B: T.B * M.k + T.k * M.B,
      C: T.C * M.k + T.k * M.C,
      AB: T.AB * M.k + T.A * M.B + T.B * M.A + T.k * M.AB,
      AC: T.AC * M.k + T.A * M.C + T.C * M.A + T.k * M.AC,
      BC: T.BC * M.k + T.B * M.C + T.C * M.B + T.k * M.BC,
      CC: T.CC * M.k + 2 * T.C * M.C + T.k * M.CC,
    };
  }

  const each = (fields, of) => Object.fromEntries(fields.map(field => [field, of(field)]));

  /* The jets of Sigma^L and Theta^L at |x|^2 = A, |x'|^2 = B, <x, x'> = C. */
  function jets(activation, depth, A, B, C) {
    const { expectations, moment } = activations[activation], gain = 1 / moment(1)[0];
    let a = A, b = B, p = 1, r = 1, S = { ...each(FIELDS, () => 0), k: C, C: 1 }, T = S;
    for (let layer = 0; layer < depth; layer++) {
      const K = expectations(a, b, S.k);
      const N = compose(K.k00, K.k20 / 2, K.k02 / 2, K.k11, K.k22 / 4, K.k31 / 2, K.k13 / 2, K.k22, p, r, S);
      const M = compose(K.k11, K.k31 / 2, K.k13 / 2, K.k22, K.k33 / 4, K.k42 / 2, K.k24 / 2, K.k33, p, r, S);
      const P = product(T, M);
      T = each(FIELDS, field => gain * (N[field] + P[field]));
      S = each(FIELDS, field => gain * N[field]);
      const [ma, slopeA] = moment(a), [mb, slopeB] = moment(b);
      a = gain * ma; b = gain * mb; p *= gain * slopeA; r *= gain * slopeB;
    }
    return { sigma: S, theta: T };
  }

  /* Value, radial and tangential derivative of the kernel between angles alpha (rows) and beta, alpha - beta given by
     its cosine c and sine s: with unit vectors u at x and v at x',
     k_uv = 4 k_AB <x,u><x',v> + 2 k_AC <x,u><x,v> + 2 k_BC <x',u><x',v> + k_CC <x',u><x,v> + k_C <u,v>. */
  function block(jet, c, s) {
    const { k, A, B, C, AB, AC, BC, CC } = jet;
    return [
      k, 2 * B + C * c, C * s,
      2 * A + C * c, 4 * AB + 2 * (AC + BC) * c + CC * c * c + C * c, 2 * AC * s + CC * c * s + C * s,
      -C * s, -2 * BC * s - CC * s * c - C * s, -CC * s * s + C * c,
    ];
  }

  const tables = new Map();

  /* All blocks of one architecture: { sigma, theta }, arrays of 360 blocks by the difference of angles in degrees. */
  function table(activation, depth) {
    const key = activation + depth;
    if (!tables.has(key)) {
      const made = { sigma: [], theta: [] };
      for (let degrees = 0; degrees < 360; degrees++) {
        const c = Math.cos(degrees * Math.PI / 180), s = Math.sin(degrees * Math.PI / 180);
        const pair = jets(activation, depth, 1, 1, c);
        for (const kind of ["sigma", "theta"]) made[kind].push(block(pair[kind], c, s));
      }
      tables.set(key, made);
    }
    return tables.get(key);
  }

  const apart = (alpha, beta) => ((alpha - beta) % 360 + 360) % 360;

  // ------------------------------------------------------------ eigenvectors

  /* { w, V }: eigenvalues, descending, and the eigenvectors in the columns of V, row by row, by cyclic Jacobi rotations
     of the symmetric n x n matrix S (row by row; overwritten). */
  function eigen(S, n) {
    const V = new Float64Array(n * n);
    let largest = 0;
    for (let i = 0; i < n; i++) { V[i * n + i] = 1; largest = Math.max(largest, Math.abs(S[i * n + i])); }
    for (let sweep = 0, turned = true; turned && sweep < 40; sweep++) {
      turned = false;
      for (let p = 0; p < n - 1; p++) for (let q = p + 1; q < n; q++) {
        const apq = S[p * n + q];
        if (Math.abs(apq) <= 1e-18 * largest) continue;
        turned = true;
        const half = (S[q * n + q] - S[p * n + p]) / (2 * apq);
        const t = (half < 0 ? -1 : 1) / (Math.abs(half) + Math.hypot(half, 1));
        rotate(S, V, n, p, q, 1 / Math.hypot(t, 1), t, apq);
      }
    }
    const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => S[j * n + j] - S[i * n + i]);
    const w = Float64Array.from(order, i => S[i * n + i]), sorted = new Float64Array(n * n);
    // the rotations kept eigenvectors in rows, which lie together in memory
    order.forEach((from, to) => { for (let k = 0; k < n; k++) sorted[k * n + to] = V[from * n + k]; });
    return { w, V: sorted };
  }

  function rotate(S, V, n, p, q, cosine, t, apq) {
    const sine = t * cosine, P = p * n, Q = q * n, diagonalP = S[P + p] - t * apq, diagonalQ = S[Q + q] + t * apq;
    for (let k = 0; k < n; k++) {
      const x = S[P + k], y = S[Q + k], u = V[P + k], v = V[Q + k];
      S[P + k] = S[k * n + p] = cosine * x - sine * y;
      S[Q + k] = S[k * n + q] = sine * x + cosine * y;
      V[P + k] = cosine * u - sine * v;
      V[Q + k] = sine * u + cosine * v;
    }
    S[P + p] = diagonalP; S[Q + q] = diagonalQ; S[P + q] = S[Q + p] = 0;
  }

  // ------------------------------------------------------------ training

  /* Labels that every network ties to each other: equal angles, and antipodes where phi is odd, whose value and frame
     derivatives are minus those of the first. A tie acts as one point: its weight is the number of its labels, and its
     label is their mean. { angles, count } of the P ties, { group, sign } of the N labels. */
  function ties(angles, odd) {
    const first = new Map(), found = { angles: [], count: [], group: [], sign: [] };
    for (const angle of angles) {
      const key = apart(angle, 0) % (odd ? 180 : 360);
      if (!first.has(key)) {
        first.set(key, found.angles.length);
        found.angles.push(angle); found.count.push(0);
      }
      const g = first.get(key);
      found.group.push(g); found.count[g]++;
      found.sign.push(apart(angle, found.angles[g]) === 0 ? 1 : -1);
    }
    return found;
  }

  /* The spectrum of S = Lam^{1/2} Theta Lam^{1/2}: what training owes to the angles and not to the labels.

     eigenvalues are descending and not negative, `floor` is the size below which float64 cannot tell one from zero,
     `timeConstants` are N / w in units of kappa^2 t, infinite for unresolved ones. */
  function spectrum({ angles, activation, depth, lambda }) {
    const tied = ties(angles, activations[activation].odd), P = tied.angles.length;
    const theta = table(activation, depth).theta, per = lambda > 0 ? 3 : 1, n = per * P;
    const root = Float64Array.from({ length: n }, (_, i) =>
      Math.sqrt(tied.count[Math.floor(i / per)] * (i % per ? lambda : 1)));
    const S = new Float64Array(n * n);
    for (let i = 0; i < P; i++) for (let j = 0; j < P; j++) {
      const entries = theta[apart(tied.angles[i], tied.angles[j])];
      for (let a = 0; a < per; a++) for (let b = 0; b < per; b++) {
        const row = per * i + a, col = per * j + b;
        S[row * n + col] = root[row] * entries[3 * a + b] * root[col];
      }
    }
    const { w, V } = eigen(S, n);
    const floor = Math.max(Math.max(n, 100) * EPS * w[0], -w[n - 1]), N = angles.length;
    for (let i = 0; i < n; i++) w[i] = Math.max(w[i], 0);
    const timeConstants = Array.from(w, one => one > floor ? N / one : Infinity);
    return { activation, depth, lambda, tied, per, n, N, root, eigenvalues: w, V, floor, timeConstants };
  }

  /* tau_i = (1 - exp(-kappa^2 t w_i / N)) / w_i at `time` = kappa^2 t, and 1 / w_i at infinite time; an unresolved
     direction stands still from the moment on at which an eigenvalue at the floor would have trained. */
  function tau({ eigenvalues, floor, N }, time) {
    return eigenvalues.map(w => {
      if (time === Infinity) return w > floor ? 1 / w : 0;
      const elapsed = w > floor || floor === 0 ? time / N : Math.min(time / N, 1 / floor), z = elapsed * w;
      return z > 1e-290 ? -Math.expm1(-z) / w : elapsed;
    });
  }

  /* V^T Lam^{1/2} y*: how much of the labels lies in each mode. */
  function coordinates({ tied, per, n, root, V }, labels) {
    const mean = new Float64Array(tied.angles.length), found = new Float64Array(n);
    labels.forEach((y, i) => { mean[tied.group[i]] += tied.sign[i] * y / tied.count[tied.group[i]]; });
    mean.forEach((y, g) => {
      const row = per * g;
      for (let i = 0; i < n; i++) found[i] += V[row * n + i] * root[row] * y;
    });
    return found;
  }

  /* Lam^{1/2} V diag(tau) c */
  function weigh({ n, root, V }, factors, c) {
    const out = new Float64Array(n);
    for (let row = 0; row < n; row++) {
      let sum = 0;
      for (let i = 0; i < n; i++) sum += V[row * n + i] * factors[i] * c[i];
      out[row] = root[row] * sum;
    }
    return out;
  }

  /* The mean over initialisations at `time` = kappa^2 t: angle in degrees -> [value, radial, tangential derivative]. */
  function predictor(system, labels, time) {
    const { activation, depth, tied, per } = system, theta = table(activation, depth).theta;
    const coefficients = weigh(system, tau(system, time), coordinates(system, labels));
    return angle => {
      const out = [0, 0, 0];
      tied.angles.forEach((other, g) => {
        const entries = theta[apart(angle, other)];
        for (let a = 0; a < 3; a++) for (let b = 0; b < per; b++) {
          out[a] += entries[3 * a + b] * coefficients[per * g + b];
        }
      });
      return out;
    };
  }

  /* The standard deviation over initialisations of the value, over kappa: angle -> number. With A = Theta_xX G, its
     square is Sigma_xx - 2 A Sigma_Xx + A Sigma_XX A^T, whatever the labels. */
  function spread(system, time) {
    const { activation, depth, tied, per, n, root, V } = system, { sigma, theta } = table(activation, depth);
    const factors = tau(system, time), own = sigma[0][0];
    const column = (blocks, angle) => Float64Array.from({ length: n }, (_, row) =>
      blocks[apart(tied.angles[Math.floor(row / per)], angle)][3 * (row % per)]);
    const prior = tied.angles.flatMap(alpha => Array.from({ length: per }, (_, a) =>
      Float64Array.from({ length: n }, (_, col) =>
        sigma[apart(alpha, tied.angles[Math.floor(col / per)])][3 * a + col % per])));
    return angle => {
      const c = new Float64Array(n), toPoint = column(theta, angle), cross = column(sigma, angle);
      for (let row = 0; row < n; row++) {
        const weighted = root[row] * toPoint[row];
        for (let i = 0; i < n; i++) c[i] += V[row * n + i] * weighted;
      }
      const A = weigh(system, factors, c);
      let variance = own;
      for (let row = 0; row < n; row++) {
        let sum = -2 * cross[row];
        for (let col = 0; col < n; col++) sum += prior[row][col] * A[col];
        variance += A[row] * sum;
      }
      return Math.sqrt(Math.max(variance, 0));
    };
  }

  return { activations, jets, block, table, eigen, ties, spectrum, tau, coordinates, predictor, spread };
})();
