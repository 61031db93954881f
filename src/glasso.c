/* The graphical lasso (Friedman, Hastie & Tibshirani 2008): theta maximizes
     log det theta - trace(S theta) - sum over pairs rho_ij |theta_ij|.
   W = inverse of theta is found column by column, each a lasso by coordinate descent. Variables
   whose covariances are all within their penalties are alone in the solution, and connected
   components are solved apart (Witten, Friedman & Simon 2011). */
#include "scmvp.h"
#include <math.h>
#include <string.h>

/* In the last round over its columns, the correlations of W change by less than this. */
#define ROUND_TOLERANCE 1e-9
#define ROUNDS 1000
/* Within a column, the last step changes a coefficient by less than this, in units of the standard
   deviations: at first roughly, in the end at most a tenth of the tolerance of a round. */
#define FIRST_STEP_TOLERANCE 1e-3
#define LAST_STEP_TOLERANCE 1e-10
#define PASSES 100
/* Steps one coefficient at a time; after these, all at once. */
#define SINGLE_STEPS 5

static double soft(double x, double penalty) {
  if (x > penalty) return x - penalty;
  if (x < -penalty) return x + penalty;
  return 0;
}

void screen(int n, const double *S, const double *rho, int *part) {
  int *stack = (int *)R_alloc(n, sizeof(int));
  for (int i = 0; i < n; i++) part[i] = -1;
  for (int first = 0; first < n; first++) {
    if (part[first] >= 0) continue;
    int depth = 0;
    part[first] = first;
    stack[depth++] = first;
    while (depth > 0) {
      int i = stack[--depth];
      for (int j = 0; j < n; j++) {
        if (part[j] < 0 && fabs(S[(size_t)i * n + j]) > rho[(size_t)i * n + j]) {
          part[j] = first;
          stack[depth++] = j;
        }
      }
    }
  }
}

/* One lasso: the coefficients `beta` of column `own` on the others, penalized by `rho`. residual is
   target - W beta, and kept up to date. live, factor, step: work space. */
typedef struct {
  int n, own;
  const double *W, *target, *rho;
  double *beta, *residual;
  int *live;
  double *factor, *step;
} column;

static void set_residual(const column *of) {
  memcpy(of->residual, of->target, sizeof(double) * of->n);
  for (int k = 0; k < of->n; k++) {
    if (of->beta[k] == 0) continue;
    const double *w = of->W + (size_t)k * of->n;
    for (int i = 0; i < of->n; i++) of->residual[i] -= w[i] * of->beta[k];
  }
}

/* Moves coefficient k to its best value; returns by how much, in units of the deviations. */
static double move(const column *of, int k) {
  const double *w = of->W + (size_t)k * of->n, old = of->beta[k];
  const double now = soft(of->residual[k] + w[k] * old, of->rho[k]) / w[k];
  if (now == old) return 0;
  for (int i = 0; i < of->n; i++) of->residual[i] -= w[i] * (now - old);
  of->beta[k] = now;
  return fabs(now - old) * sqrt(w[k] / of->W[(size_t)of->own * of->n + of->own]);
}

/* Solves A x = b, A symmetric and positive definite, m x m: the lower triangle of A becomes its
   Cholesky factor, b becomes x. Returns 0 where a pivot is not positive. */
static int solve_positive(int m, double *A, double *b) {
  for (int c = 0; c < m; c++) {
    for (int r = c; r < m; r++) {
      double left = A[(size_t)r * m + c];
      for (int k = 0; k < c; k++) left -= A[(size_t)r * m + k] * A[(size_t)c * m + k];
      if (r == c && !(left > 0)) return 0;
      A[(size_t)r * m + c] = r == c ? sqrt(left) : left / A[(size_t)c * m + c];
    }
    for (int k = 0; k < c; k++) b[c] -= A[(size_t)c * m + k] * b[k];
    b[c] /= A[(size_t)c * m + c];
  }
  for (int c = m - 1; c >= 0; c--) {
    for (int k = c + 1; k < m; k++) b[c] -= A[(size_t)k * m + c] * b[k];
    b[c] /= A[(size_t)c * m + c];
  }
  return 1;
}

/* Moves all coefficients that are not 0 to their best values together, as far as none changes its
   sign; one that would becomes 0 and the others go on. Steps of single coefficients need as many
   rounds as W is ill-conditioned, which it is where peaks are nearly the same. */
static void move_together(const column *of) {
  for (;;) {
    int m = 0, stop = -1;
    double reach = 1;
    for (int k = 0; k < of->n; k++) {
      if (of->beta[k] != 0) of->live[m++] = k;
    }
    for (int a = 0; a < m; a++) {
      const int k = of->live[a];
      const double sign = of->beta[k] > 0 ? 1 : -1;
      of->step[a] = of->target[k] - sign * of->rho[k];
      for (int b = 0; b <= a; b++) {
        of->factor[(size_t)a * m + b] = of->W[(size_t)k * of->n + of->live[b]];
      }
    }
    if (!solve_positive(m, of->factor, of->step)) break;
    for (int a = 0; a < m; a++) {
      const int k = of->live[a];
      const double old = of->beta[k];
      of->step[a] -= old;
      if (of->rho[k] > 0 && (old + of->step[a]) * old < 0 && -old / of->step[a] < reach) {
        reach = -old / of->step[a];
        stop = k;
      }
    }
    for (int a = 0; a < m; a++) of->beta[of->live[a]] += reach * of->step[a];
    if (stop < 0) break;
    of->beta[stop] = 0;
  }
  set_residual(of);
}

static int solve_column(const column *of, double tolerance) {
  for (int pass = 0; pass < PASSES; pass++) {
    double largest = 0;
    int n_live = 0;
    for (int k = 0; k < of->n; k++) {
      if (k != of->own) largest = fmax(largest, move(of, k));
    }
    if (largest < tolerance) return 1;
    for (int k = 0; k < of->n; k++) {
      if (of->beta[k] != 0) of->live[n_live++] = k;
    }
    for (int step = 0; step < SINGLE_STEPS && largest >= tolerance; step++) {
      largest = 0;
      for (int a = 0; a < n_live; a++) largest = fmax(largest, move(of, of->live[a]));
    }
    if (largest >= tolerance) move_together(of);
  }
  return 0;
}

/* A connected component of three or more variables. B: coefficients, one column per variable. */
static int solve_component(int n, const double *S, const double *rho, double *W, double *theta) {
  double *B = (double *)R_alloc((size_t)n * n, sizeof(double));
  column of = {n, 0, W, NULL, NULL, NULL, NULL, NULL, NULL, NULL};
  of.residual = (double *)R_alloc(n, sizeof(double));
  of.step = (double *)R_alloc(n, sizeof(double));
  of.live = (int *)R_alloc(n, sizeof(int));
  of.factor = (double *)R_alloc((size_t)n * n, sizeof(double));
  int converged = 0;
  double tolerance = FIRST_STEP_TOLERANCE;
  memset(B, 0, sizeof(double) * n * n);
  memcpy(W, S, sizeof(double) * n * n);
  for (int round = 0; round < ROUNDS && !converged; round++) {
    double largest = 0;
    int solved = 1;
    R_CheckUserInterrupt();
    for (int j = 0; j < n; j++) {
      of.own = j;
      of.beta = B + (size_t)j * n;
      of.target = S + (size_t)j * n;
      of.rho = rho + (size_t)j * n;
      set_residual(&of);
      solved &= solve_column(&of, tolerance);
      for (int i = 0; i < n; i++) {
        if (i == j) continue;
        const double w = of.target[i] - of.residual[i]; /* (W beta)_i */
        double *there = W + (size_t)j * n + i;
        largest = fmax(largest, fabs(w - *there) /
                                  sqrt(W[(size_t)j * n + j] * W[(size_t)i * n + i]));
        *there = W[(size_t)i * n + j] = w;
      }
    }
    converged = solved && largest < ROUND_TOLERANCE && tolerance <= LAST_STEP_TOLERANCE;
    tolerance = fmin(tolerance, fmax(largest / 100, LAST_STEP_TOLERANCE));
  }
  if (theta == NULL) return converged;
  for (int j = 0; j < n; j++) {
    const double *beta = B + (size_t)j * n, *w = W + (size_t)j * n;
    double left = w[j];
    for (int k = 0; k < n; k++) left -= w[k] * beta[k];
    for (int k = 0; k < n; k++) theta[(size_t)j * n + k] = -beta[k] / left;
    theta[(size_t)j * n + j] = 1 / left;
  }
  return converged;
}

/* Two variables have a closed form. */
static int solve_pair(const double *S, const double *rho, double *W, double *theta) {
  double w = soft(S[1], rho[1]);
  W[0] = S[0], W[3] = S[3], W[1] = W[2] = w;
  if (theta != NULL) {
    double determinant = S[0] * S[3] - w * w;
    theta[0] = S[3] / determinant, theta[3] = S[0] / determinant;
    theta[1] = theta[2] = -w / determinant;
  }
  return 1;
}

static void cut_out(int n, const double *from, const int *some, int q, double *to) {
  for (int b = 0; b < q; b++) {
    for (int a = 0; a < q; a++) to[(size_t)b * q + a] = from[(size_t)some[b] * n + some[a]];
  }
}

static void put_back(int n, double *into, const int *some, int q, const double *from) {
  for (int b = 0; b < q; b++) {
    for (int a = 0; a < q; a++) into[(size_t)some[b] * n + some[a]] = from[(size_t)b * q + a];
  }
}

int graphical_lasso(int n, const double *S, const double *rho, double *W, double *theta) {
  const void *mark = vmaxget();
  int *part = (int *)R_alloc(n, sizeof(int)), *some = (int *)R_alloc(n, sizeof(int));
  double *own[4]; /* S, rho, W and theta of a component */
  int converged = 1;
  memset(W, 0, sizeof(double) * n * n);
  if (theta != NULL) memset(theta, 0, sizeof(double) * n * n);
  screen(n, S, rho, part);
  for (int first = 0; first < n; first++) {
    if (part[first] != first) continue;
    int q = 0;
    for (int i = first; i < n; i++) {
      if (part[i] == first) some[q++] = i;
    }
    size_t diagonal = (size_t)first * n + first;
    if (q == 1) {
      W[diagonal] = S[diagonal];
      if (theta != NULL) theta[diagonal] = 1 / S[diagonal];
      continue;
    }
    const void *inner = vmaxget();
    for (int k = 0; k < 4; k++) own[k] = (double *)R_alloc((size_t)q * q, sizeof(double));
    cut_out(n, S, some, q, own[0]);
    cut_out(n, rho, some, q, own[1]);
    converged &= q == 2 ? solve_pair(own[0], own[1], own[2], own[3])
                        : solve_component(q, own[0], own[1], own[2], own[3]);
    put_back(n, W, some, q, own[2]);
    if (theta != NULL) put_back(n, theta, some, q, own[3]);
    vmaxset(inner);
  }
  vmaxset(mark);
  return converged;
}
