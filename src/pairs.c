/* Pairs of peaks in order, in time that is linear in their number. */
#include "scmvp.h"

static SEXP named_list(SEXP i, SEXP j, SEXP value) {
  const char *names[] = {"i", "j", "value", ""};
  SEXP list = PROTECT(Rf_mkNamed(VECSXP, names));
  SET_VECTOR_ELT(list, 0, i);
  SET_VECTOR_ELT(list, 1, j);
  SET_VECTOR_ELT(list, 2, value);
  UNPROTECT(1);
  return list;
}

/* place[k] becomes the number of keys below k. */
static void add_up(int *place, int n) {
  int sum = 0;
  for (int k = 0; k < n; k++) {
    const int here = place[k];
    place[k] = sum;
    sum += here;
  }
}

/* The order of pairs (i, j) by i, then j; the same pairs stay in the order they came. */
static int *order_of_pairs(const int *i, const int *j, int n, int n_peaks) {
  int *by_j = (int *)R_alloc(n, sizeof(int)), *order = (int *)R_alloc(n, sizeof(int));
  int *place = (int *)R_alloc(n_peaks + 1, sizeof(int));
  for (int pass = 0; pass < 2; pass++) {
    const int *key = pass == 0 ? j : i;
    for (int k = 0; k <= n_peaks; k++) place[k] = 0;
    for (int at = 0; at < n; at++) place[key[at]]++;
    add_up(place, n_peaks + 1);
    for (int at = 0; at < n; at++) {
      const int pair = pass == 0 ? at : by_j[at];
      (pass == 0 ? by_j : order)[place[key[pair]]++] = pair;
    }
  }
  return order;
}

/* A pair in several windows, i < j: the mean when no two values have opposite signs, else NA. */
SEXP scmvp_reconcile(SEXP i, SEXP j, SEXP value, SEXP n_peaks) {
  const int *first = INTEGER(i), *second = INTEGER(j);
  const double *x = REAL(value);
  const int n = Rf_length(value); /* fewer than a data frame has rows: R asked before */
  const int *order = order_of_pairs(first, second, n, Rf_asInteger(n_peaks));
  int n_unique = 0, k = 0;
  for (int at = 0; at < n; at++) {
    n_unique += at == 0 || first[order[at]] != first[order[at - 1]] ||
                second[order[at]] != second[order[at - 1]];
  }
  SEXP out_i = PROTECT(Rf_allocVector(INTSXP, n_unique));
  SEXP out_j = PROTECT(Rf_allocVector(INTSXP, n_unique));
  SEXP out = PROTECT(Rf_allocVector(REALSXP, n_unique));
  for (int at = 0; at < n; k++) {
    const int one = first[order[at]], other = second[order[at]];
    double sum = 0, low = R_PosInf, high = R_NegInf;
    int count = 0;
    for (; at < n && first[order[at]] == one && second[order[at]] == other; at++, count++) {
      const double here = x[order[at]];
      sum += here;
      if (here < low) low = here;
      if (here > high) high = here;
    }
    INTEGER(out_i)[k] = one;
    INTEGER(out_j)[k] = other;
    REAL(out)[k] = low < 0 && high > 0 ? NA_REAL : sum / count;
  }
  SEXP list = named_list(out_i, out_j, out);
  UNPROTECT(3);
  return list;
}

/* Pairs i < j, in order, in both directions and in order. */
SEXP scmvp_both_directions(SEXP i, SEXP j, SEXP value, SEXP n_peaks) {
  const int *first = INTEGER(i), *second = INTEGER(j), peaks = Rf_asInteger(n_peaks);
  const int n = Rf_length(value);
  SEXP out_i = PROTECT(Rf_allocVector(INTSXP, 2 * (R_xlen_t)n));
  SEXP out_j = PROTECT(Rf_allocVector(INTSXP, 2 * (R_xlen_t)n));
  SEXP out = PROTECT(Rf_allocVector(REALSXP, 2 * (R_xlen_t)n));
  int *place = (int *)R_alloc(peaks + 1, sizeof(int));
  for (int k = 0; k <= peaks; k++) place[k] = 0;
  for (int at = 0; at < n; at++) place[first[at]]++, place[second[at]]++;
  add_up(place, peaks + 1);
  /* partners before a peak come first: in a first pass over pairs, which are ordered by i */
  for (int pass = 0; pass < 2; pass++) {
    const int *from = pass == 0 ? second : first, *to = pass == 0 ? first : second;
    for (int at = 0; at < n; at++) {
      const int here = place[from[at]]++;
      INTEGER(out_i)[here] = from[at];
      INTEGER(out_j)[here] = to[at];
      REAL(out)[here] = REAL(value)[at];
    }
  }
  SEXP list = named_list(out_i, out_j, out);
  UNPROTECT(3);
  return list;
}
