/* Windows of the genome: covariances, penalties, and the graphical lasso of each. */
#include "scmvp.h"
#include <math.h>
#include <string.h>

/* From inner products of centered columns to covariances with the ridge on the diagonal. */
static void fill_covariance(const double *values, R_xlen_t n_groups, const int *columns, int n,
                            double ridge, double *S) {
  inner_products(values, n_groups, columns, n, columns, n, S);
  for (size_t k = 0; k < (size_t)n * n; k++) S[k] /= (double)(n_groups - 1);
  for (int k = 0; k < n; k++) S[(size_t)k * n + k] += ridge;
}

/* rho = parameter (1 - (1000 / distance)^s), 0 within 1 kb */
static void fill_penalties(const double *position, int n, double parameter, double s,
                           double *rho) {
  for (int b = 0; b < n; b++) {
    rho[(size_t)b * n + b] = 0;
    for (int a = 0; a < b; a++) {
      double distance = fabs(position[a] - position[b]);
      double penalty = distance > 1000 ? parameter * (1 - pow(1000 / distance, s)) : 0;
      rho[(size_t)b * n + a] = rho[(size_t)a * n + b] = penalty;
    }
  }
}

static double *square(int n) { return (double *)R_alloc((size_t)n * n, sizeof(double)); }

static int n_rows(SEXP matrix) { return INTEGER(Rf_getAttrib(matrix, R_DimSymbol))[0]; }

static const int *from_0(SEXP columns) {
  const int n = Rf_length(columns);
  int *out = (int *)R_alloc(n, sizeof(int));
  for (int k = 0; k < n; k++) out[k] = INTEGER(columns)[k] - 1;
  return out;
}

/* Covariance of some columns of centered values, with the ridge. */
SEXP scmvp_covariance(SEXP values, SEXP columns, SEXP ridge) {
  const int n = Rf_length(columns);
  SEXP out = PROTECT(Rf_allocMatrix(REALSXP, n, n));
  fill_covariance(
    REAL(values), n_rows(values), from_0(columns), n, Rf_asReal(ridge), REAL(out));
  UNPROTECT(1);
  return out;
}

/* list(w, wi, converged) */
SEXP scmvp_window_glasso(SEXP covariance, SEXP rho) {
  const int n = n_rows(covariance);
  const char *names[] = {"w", "wi", "converged", ""};
  SEXP out = PROTECT(Rf_mkNamed(VECSXP, names));
  SET_VECTOR_ELT(out, 0, Rf_allocMatrix(REALSXP, n, n));
  SET_VECTOR_ELT(out, 1, Rf_allocMatrix(REALSXP, n, n));
  int converged = graphical_lasso(
    n, REAL(covariance), REAL(rho), REAL(VECTOR_ELT(out, 0)), REAL(VECTOR_ELT(out, 1)));
  SET_VECTOR_ELT(out, 2, Rf_ScalarLogical(converged));
  UNPROTECT(1);
  return out;
}

/* Of the pairs of which `edge` is true: are at most 5 % of those farther apart than `beyond`, and
   at most 80 % of all entries of the matrix, the diagonal with them? */
static int few_edges(int n, const double *position, double beyond, const int *edge) {
  double n_long = 0, long_edges = 0, edges = n;
  for (int b = 0; b < n; b++) {
    for (int a = 0; a < n; a++) {
      if (a == b) continue;
      int is_edge = edge[(size_t)b * n + a], is_long = fabs(position[a] - position[b]) > beyond;
      n_long += is_long;
      long_edges += is_long && is_edge;
      edges += is_edge;
    }
  }
  double all = (double)n * n;
  return long_edges / n_long <= 0.05 && (all - edges) / all >= 0.2;
}

/* Whether long edges are (nearly) absent at this distance parameter. Edges lie within the
   components of the screening, so that these alone often say yes. */
SEXP scmvp_edges_vanish(SEXP covariance, SEXP position, SEXP beyond, SEXP parameter, SEXP s) {
  const int n = n_rows(covariance);
  const double *S = REAL(covariance), *at = REAL(position), far = Rf_asReal(beyond);
  double *rho = square(n);
  int *part = (int *)R_alloc(n, sizeof(int));
  int *edge = (int *)R_alloc((size_t)n * n, sizeof(int));
  fill_penalties(at, n, Rf_asReal(parameter), Rf_asReal(s), rho);
  screen(n, S, rho, part);
  for (size_t k = 0; k < (size_t)n * n; k++) edge[k] = part[k / n] == part[k % n];
  if (few_edges(n, at, far, edge)) return Rf_ScalarLogical(1);
  double *W = square(n), *theta = square(n);
  graphical_lasso(n, S, rho, W, theta); /* not converged: the models of the windows will say so */
  for (size_t k = 0; k < (size_t)n * n; k++) edge[k] = theta[k] != 0;
  return Rf_ScalarLogical(few_edges(n, at, far, edge));
}

/* ---- all pairs of a piece of windows --------------------------------------------------------- */

/* The covariance of a window. What it has in common with the window before is taken from there:
   `known[column]` is the place of a column in that window, or -1. */
typedef struct {
  int n;
  const int *columns;
  double *S;
  int *known;
} window;

static void covariance_of_next(const double *values, R_xlen_t n_groups, double ridge,
                               const window *before, window *now) {
  const int n = now->n;
  int *old = (int *)R_alloc(n, sizeof(int)), *new = (int *)R_alloc(n, sizeof(int));
  int *all = (int *)R_alloc(n, sizeof(int)), n_old = 0, n_new = 0;
  for (int k = 0; k < n; k++) {
    if (before->known[now->columns[k]] >= 0) old[n_old++] = k;
    else new[n_new++] = k;
  }
  for (int b = 0; b < n_old; b++) {
    const int there = before->known[now->columns[old[b]]];
    for (int a = 0; a < n_old; a++) {
      now->S[(size_t)old[b] * n + old[a]] =
        before->S[(size_t)there * before->n + before->known[now->columns[old[a]]]];
    }
  }
  if (n_new == 0) return;
  double *products = (double *)R_alloc((size_t)n * n_new, sizeof(double));
  for (int k = 0; k < n_new; k++) all[k] = now->columns[new[k]];
  inner_products(values, n_groups, now->columns, n, all, n_new, products);
  for (int b = 0; b < n_new; b++) {
    for (int a = 0; a < n; a++) {
      double covariance = products[(size_t)b * n + a] / (double)(n_groups - 1);
      now->S[(size_t)new[b] * n + a] = now->S[(size_t)a * n + new[b]] = covariance;
    }
    now->S[(size_t)new[b] * n + new[b]] += ridge;
  }
}

/* Correlations of the pairs of a window, from place k of the results on. */
static R_xlen_t put_pairs(int n, const int *peaks, const double *W, R_xlen_t k, int *i, int *j,
                          double *value) {
  for (int a = 0; a < n; a++) {
    for (int b = a + 1; b < n; b++, k++) {
      const int sorted = peaks[a] < peaks[b];
      i[k] = peaks[sorted ? a : b];
      j[k] = peaks[sorted ? b : a];
      const double w = W[(size_t)a * n + b];
      const double spread = sqrt(W[(size_t)a * n + a] * W[(size_t)b * n + b]);
      value[k] = w == 0 ? 0 : fmax(-1, fmin(1, w / spread));
    }
  }
  return k;
}

/* list(i, j, value, failed): pairs i < j of each window and their co-accessibility, one window
   after the other; failed: windows that did not converge. values: groups x peaks, centered; members
   and columns, lists by window: peaks, and their columns of values; position: of all peaks. */
SEXP scmvp_window_pairs(SEXP values, SEXP members, SEXP columns, SEXP position, SEXP ridge,
                        SEXP parameter, SEXP s) {
  const char *names[] = {"i", "j", "value", "failed", ""};
  const int n_windows = Rf_length(members), n_columns = Rf_ncols(values);
  R_xlen_t n_pairs = 0, k = 0;
  int largest = 0, failed = 0;
  for (int w = 0; w < n_windows; w++) {
    const int n = Rf_length(VECTOR_ELT(members, w));
    n_pairs += (R_xlen_t)n * (n - 1) / 2;
    if (n > largest) largest = n;
  }
  SEXP out = PROTECT(Rf_mkNamed(VECSXP, names));
  SET_VECTOR_ELT(out, 0, Rf_allocVector(INTSXP, n_pairs));
  SET_VECTOR_ELT(out, 1, Rf_allocVector(INTSXP, n_pairs));
  SET_VECTOR_ELT(out, 2, Rf_allocVector(REALSXP, n_pairs));
  int *known = (int *)R_alloc(n_columns, sizeof(int));
  double *rho = square(largest), *W = square(largest), *S[2] = {square(largest), square(largest)};
  double *at = (double *)R_alloc(largest, sizeof(double));
  window before = {0, NULL, S[1], known};
  for (int c = 0; c < n_columns; c++) known[c] = -1;
  for (int w = 0; w < n_windows; w++) {
    const int n = Rf_length(VECTOR_ELT(members, w));
    const int *peaks = INTEGER(VECTOR_ELT(members, w));
    const void *mark = vmaxget();
    R_CheckUserInterrupt();
    int *place = (int *)R_alloc(n, sizeof(int));
    window now = {n, place, S[w % 2], known};
    for (int a = 0; a < n; a++) {
      place[a] = INTEGER(VECTOR_ELT(columns, w))[a] - 1;
      at[a] = REAL(position)[peaks[a] - 1];
    }
    covariance_of_next(REAL(values), n_rows(values), Rf_asReal(ridge), &before, &now);
    fill_penalties(at, n, Rf_asReal(parameter), Rf_asReal(s), rho);
    failed += !graphical_lasso(n, now.S, rho, W, NULL);
    k = put_pairs(n, peaks, W, k, INTEGER(VECTOR_ELT(out, 0)), INTEGER(VECTOR_ELT(out, 1)),
                  REAL(VECTOR_ELT(out, 2)));
    if (w > 0) {
      const int *gone = INTEGER(VECTOR_ELT(columns, w - 1));
      for (int a = 0; a < before.n; a++) known[gone[a] - 1] = -1;
    }
    for (int a = 0; a < n; a++) known[place[a]] = a;
    before.n = n;
    before.S = now.S;
    vmaxset(mark);
  }
  SET_VECTOR_ELT(out, 3, Rf_ScalarInteger(failed));
  UNPROTECT(1);
  return out;
}
